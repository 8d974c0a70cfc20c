"""Rate limits: declared in Flask-Limiter's notation; counters live in Redis, so that all processes share them.

Flask-Limiter counts reads. A write is counted by the submit script, in the same counter and without a round trip of
its own; one that is refused before it gets there is counted here. Keys hold a digest, never an address or an email.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from functools import lru_cache
from time import monotonic, time
from typing import Any, ClassVar
from uuid import UUID

import structlog
from flask import Flask, g, has_request_context, request
from flask_limiter import Limiter
from limits import RateLimitItem, parse_many
from limits.storage.redis import RedisStorage
from redis import Redis

from api.access import known_caller
from config import Settings
from jobs.kernel import broker
from jobs.kernel.errors import QueueDown, RateLimited
from jobs.kernel.submit import Limit, LimitState

SCOPE = "global"
"""The scope of the one limit that a user's reads and writes share."""

PAUSE = 1.0
"""Seconds for which Redis is not asked to count again after it did not answer."""

KNOWN = 10_000
"""Callers whose counters' names are remembered."""

COUNT = """
local count = redis.call('INCRBY', KEYS[1], ARGV[2])
if count == tonumber(ARGV[2]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return {count, redis.call('TTL', KEYS[1])}
"""

log = structlog.get_logger(__name__)


class Counters(RedisStorage):
    """Fixed windows in Redis, each counted and looked at in one round trip instead of three."""

    # Its base declares it without ClassVar, which a list in a class has to have.
    STORAGE_SCHEME: ClassVar[list[str]] = ["millrace"]  # type: ignore[misc]

    def __init__(self, uri: str, redis: Redis, **_: Any) -> None:
        super().__init__("redis://", connection_pool=redis.connection_pool)
        self._count = redis.register_script(COUNT)
        self._away_until = 0.0

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        if monotonic() < self._away_until:
            raise QueueDown
        try:
            count, left = self._count(keys=[self.prefixed_key(key)], args=[expiry, amount])
        except broker.LOST as lost:
            self._away_until = monotonic() + PAUSE
            log.warning("limits_not_counted")
            raise QueueDown from lost
        if has_request_context():
            g.window = key, int(count), max(0, int(left))
        return int(count)

    def get(self, key: str) -> int:
        known = g.get("window")
        return known[1] if known and known[0] == key else super().get(key)

    def get_expiry(self, key: str) -> float:
        known = g.get("window")
        return time() + known[2] if known and known[0] == key else super().get_expiry(key)


class Limits:
    """The limits of this application. An empty setting is no limit."""

    def __init__(self, app: Flask, settings: Settings, redis: Redis) -> None:
        """Raises ValueError for a setting that is not one limit in Flask-Limiter's notation, like `600/minute`."""
        self._secret = settings.secret_key.encode()
        self._user = one(settings.rate_limit_user)
        self._login_address = one(settings.rate_limit_login_address)
        self._login_account = one(settings.rate_limit_login_account)
        logging.getLogger("flask-limiter").setLevel(logging.CRITICAL)  # it would log each request while Redis is away
        self._limiter = Limiter(
            key_func=self._caller_key,
            strategy="fixed-window",
            storage_uri="millrace://",
            # Typed as strings, and handed to the storage as they are.
            storage_options={"redis": redis},  # type: ignore[dict-item]
            swallow_errors=True,
        )
        app.extensions["limiter"] = {self._limiter}  # so that it adds no hooks: they cost a write as much as its submit
        self._limiter.init_app(app)
        if self._user:
            self._check_read = self._limiter.shared_limit(settings.rate_limit_user, scope=SCOPE)(_allowed)
        self._of_write = lru_cache(KNOWN)(self._limit_of_write)

    def of_write(self, user: UUID) -> Limit | None:
        """What the submit script is to count a write against."""
        return self._of_write(user)

    def _limit_of_write(self, user: UUID) -> Limit | None:
        if self._user is None:
            return None
        # The storage is typed as any, and is Counters, which has a prefix.
        name = self._limiter.storage.prefixed_key(self._user.key_for(self._key("user", user), SCOPE))  # type: ignore[attr-defined]
        return Limit(name, self._user.amount, self._user.get_expiry())

    def count_read(self) -> None:
        """Count a read by someone who is known; raises what `api.problems` knows of."""
        if self._user is not None:
            self._check_read()

    def count_write(self, user: object) -> None:
        """Count a write that never comes to be submitted. Raises RateLimited; passes when Redis is away."""
        try:
            self._hit(self._user, "user", user)
        except QueueDown:
            return

    def count_login_address(self) -> None:
        """Count a sign-in from where the request comes from. Raises RateLimited, and QueueDown: unlimited guessing
        at passwords is worse than no sign-in."""
        self._hit(self._login_address, "login-address", request.remote_addr)

    def count_login_account(self, email: str) -> None:
        """Count a sign-in to an account, whether there is one or not. Raises RateLimited, QueueDown."""
        self._hit(self._login_account, "login-account", email)

    def state(self) -> LimitState | None:
        """Where whoever asks stands, for the headers of the answer."""
        known: LimitState | None = g.get("limit_state")
        if known is not None:
            return known
        counted = self._limiter.current_limit
        if counted is None:
            return None
        reset, remaining = counted.window
        return LimitState(counted.limit.amount, remaining, max(0, round(reset - time())))

    def _hit(self, item: RateLimitItem | None, what: str, whose: object) -> None:
        if item is None:
            return
        allowed = self._limiter.limiter.hit(item, self._key(what, whose), SCOPE)
        _, count, left = g.window
        g.limit_state = LimitState(item.amount, max(0, item.amount - count), left)
        if not allowed:
            wait = max(1, left)
            raise RateLimited(retry_after=wait, headers={"Retry-After": str(wait)})

    def _caller_key(self) -> str:
        who = known_caller()
        return self._key("user", who.id if who else None)

    def _key(self, what: str, whose: object) -> str:
        return hmac.digest(self._secret, f"{what}:{whose}".encode(), hashlib.sha256).hex()[:32]


def one(notation: str) -> RateLimitItem | None:
    """The limit that a setting declares; None for an empty one."""
    if not notation.strip():
        return None
    (item,) = parse_many(notation)
    return item


def _allowed() -> None:
    """What Flask-Limiter lets a read do that is within its limit."""
