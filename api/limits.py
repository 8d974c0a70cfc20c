"""Rate limits: declared in Flask-Limiter's notation; counters live in Redis, so that all processes share them.

Flask-Limiter counts reads. A write is counted by the submit script, in the same counter and without a round trip of
its own; one that is refused before it gets there is counted here. The same round trip looks whether the caller's session
lasts. Keys hold a digest, never an address or an email.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic, time
from typing import Any, ClassVar, cast
from uuid import UUID

import structlog
from flask import Flask, g, request
from flask_limiter import Limiter
from limits import RateLimitItem, parse_many
from limits.storage.redis import RedisStorage
from redis import Redis

from api.access import known_caller
from config import Settings
from jobs.kernel import broker
from jobs.kernel.errors import QueueDown, RateLimited, SessionEnded
from jobs.kernel.policy import RateLimit
from jobs.kernel.submit import Limit, LimitState, Session

SCOPE = "global"
"""The scope of the one limit that a user's reads and writes share."""

HOME = 64
"""Bits of an IPv6 address that are given out as one (RFC 6177)."""

PAUSE = 1.0
"""Seconds for which Redis is not asked to count again after it did not answer."""

KNOWN = 10_000
"""Callers whose counters' names are remembered."""

COUNT = """
if KEYS[2] and redis.call('HEXISTS', KEYS[2], ARGV[3]) == 0 then return {-1, 0} end
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
        session: Session | None = g.pop("asked_session", None)
        looked, name = ([session.key], [session.id]) if session else ([], [])
        count, left = self._ask(self._count, keys=[self.prefixed_key(key), *looked], args=[expiry, amount, *name])
        if session:
            g.session_lasts = count >= 0
        if count < 0:
            raise SessionEnded
        g.window = key, count, max(0, left)
        return int(count)

    def lasts(self, session: Session) -> bool:
        """Whether a session has not ended. Raises QueueDown."""
        return bool(self._ask(self.storage.hexists, session.key, session.id))

    def _ask(self, ask: Callable[..., Any], *args: Any, **more: Any) -> Any:
        if monotonic() < self._away_until:
            raise QueueDown
        try:
            return ask(*args, **more)
        except broker.LOST as lost:
            self._away_until = monotonic() + PAUSE
            log.warning("limits_not_counted")
            raise QueueDown from lost

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
        self._items = {name: one(value) for name, value in settings if name.startswith("rate_limit_")}
        self._user = self._items["rate_limit_user"]
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
        self._counters = cast(Counters, self._limiter.storage)
        if self._user:
            self._check_read = self._limiter.shared_limit(settings.rate_limit_user, scope=SCOPE)(_allowed)
        self._of_write = lru_cache(KNOWN)(self._limit_of_write)

    def of_write(self, user: UUID) -> Limit | None:
        """What the submit script is to count a write against."""
        return self._of_write(user)

    def _limit_of_write(self, user: UUID) -> Limit | None:
        if self._user is None:
            return None
        name = self._counters.prefixed_key(self._user.key_for(self._key("user", user), SCOPE))
        return Limit(name, self._user.amount, self._user.get_expiry())

    def count_read(self, session: Session | None) -> bool | None:
        """Count a read by its caller, or its address; whether the session lasts, or None where Redis could not be asked.
        Raises what `api.problems` knows of."""
        if self._user is None:
            return self._lasts(session) if session else None
        g.asked_session = session
        self._check_read()
        lasts: bool | None = g.pop("session_lasts", None)
        return lasts

    def count_write(self, user: object, session: Session) -> None:
        """Count what neither a read's decorator nor the submit script counts; nothing of a session that has ended.
        Raises SessionEnded, RateLimited, QueueDown."""
        if self._user is None:
            if not self._counters.lasts(session):
                raise SessionEnded
            return
        g.asked_session = session
        self._hit(self._user, "user", user)

    def count(self, limit: RateLimit, sent: object = None) -> None:
        """Count what has a limit of its own. `sent`: has the field that the limit counts by.

        Raises RateLimited; and QueueDown, because what is limited so may not be had without its limit.
        """
        whose = address() if limit.by == "address" else str(getattr(sent, limit.by))
        self._hit(self._items[limit.setting], limit.setting, whose)

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

    def _lasts(self, session: Session) -> bool | None:
        try:
            return self._counters.lasts(session)
        except QueueDown:
            return None

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
        return self._key("user", who.id) if who else self._key("address", address())

    def _key(self, what: str, whose: object) -> str:
        return hmac.digest(self._secret, f"{what}:{whose}".encode(), hashlib.sha256).hex()[:32]


def address() -> str:
    """Where the request comes from. Of IPv6 the network: whoever has one address has all of it."""
    given = request.remote_addr or ""
    try:
        place = ip_address(given)
    except ValueError:  # a socket of the file system has none
        return given
    mapped = place.ipv4_mapped if isinstance(place, IPv6Address) else None
    if mapped or not isinstance(place, IPv6Address):
        return str(mapped or place)
    return str(ip_network((place, HOME), strict=False))


def one(notation: str) -> RateLimitItem | None:
    """The limit that a setting declares; None for an empty one."""
    if not notation.strip():
        return None
    (item,) = parse_many(notation)
    return item


def _allowed() -> None:
    """What Flask-Limiter lets a read do that is within its limit."""
