"""Rate limits, in Flask-Limiter's notation and windows; counters live in Redis, so that all processes share them.

A write is counted by the submit script, in the same counter and without a round trip of its own; one that is refused
before it gets there is counted here, as all the rest is. Limits per job are counted by that script alone. Keys hold a
digest, never an address, an email or a phone number.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import cast
from uuid import UUID

from flask import Flask, g, request
from flask_limiter import Limiter
from limits import RateLimitItem, parse_many
from redis import Redis

from api.cache import LEASE, NOTHING, Looked, Place
from api.counters import Counters
from api.sessions import named
from api.tokens import Caller
from config import Settings
from jobs.kernel.command import Command
from jobs.kernel.errors import QueueDown, QueueFull, RateLimited
from jobs.kernel.policy import RateLimit
from jobs.kernel.submit import Limit, LimitState, Session

SCOPE = "global"
"""The scope of the one limit that a user's reads and writes share."""

HOME = 64
"""Bits of an IPv6 address that are given out as one (RFC 6177)."""

KNOWN = 10_000
"""Callers whose counters' names are remembered."""


class Limits:
    """The limits of this application. An empty setting is no limit."""

    def __init__(self, app: Flask, settings: Settings, redis: Redis) -> None:
        """Raises ValueError for a setting that is not one limit in Flask-Limiter's notation, like `600/minute`."""
        self._secret = settings.secret_key.encode()
        self._items = {name: one(value) for name, value in settings if name.startswith("rate_limit_")}
        self._user = self._items["rate_limit_user"]
        self._limiter = Limiter(
            key_func=address,
            strategy="fixed-window",
            storage_uri="millrace://",
            # Typed as strings, and handed to the storage as they are.
            storage_options={"redis": redis},  # type: ignore[dict-item]
        )
        app.extensions["limiter"] = {self._limiter}  # so that it adds no hooks: they cost a write as much as its submit
        self._limiter.init_app(app)
        self._counters = cast(Counters, self._limiter.storage)
        self._of_write = lru_cache(KNOWN)(self._limit_of_write)
        self._lines = self._items["rate_limit_bulk_lines"]

    def of_write(self, user: UUID) -> Limit | None:
        """What the submit script is to count a write against."""
        return self._of_write(user)

    def _limit_of_write(self, user: UUID) -> Limit | None:
        if self._user is None:
            return None
        return self._window(self._user, "user", user)

    def of_lines(self, user: UUID) -> Limit | None:
        """What the submit script is to count each line of a bulk against."""
        return self._window(self._lines, "lines", user) if self._lines else None

    def of_job(self, command: Command, who: Caller | None) -> tuple[Limit, ...]:
        """What the submit script is to count a job against, if it makes one."""
        return tuple(
            self._window(item, limit.setting, _whose(limit, command, who))
            for limit in command.policy.limits
            if limit.per_job and (item := self._items[limit.setting])
        )

    def count_caller(self, who: Caller, place: Place | None = None) -> Looked:
        """Count what somebody asks, but for a write that is submitted; nothing of a session that has ended. What is found
        where the answer may be kept. Raises SessionEnded, RateLimited; QueueDown or QueueFull where it could not be counted."""
        self._hit(self._user, "user", who.id, named(who.id, who.session), place)
        return Looked(*g.pop("found", NOTHING))

    def look(self, who: Caller) -> None:
        """Count nothing, and see whether somebody's session lasts. Raises SessionEnded, QueueDown."""
        self._counters.look(named(who.id, who.session))

    def count_session(self, user: UUID, session: str) -> None:
        """Count what somebody does about their sessions, each apart: so no thief of one keeps its owner from ending it.
        Raises as `count_caller` does."""
        self._hit(self._user, "session", session, named(user, session))

    def count_address(self) -> None:
        """Count what is asked without a token; where it cannot be counted it is let pass. Raises RateLimited."""
        try:
            self._hit(self._user, "address", address())
        except (QueueDown, QueueFull):
            return

    def count(self, limit: RateLimit, sent: object = None, who: Caller | None = None) -> None:
        """Count what has a limit of its own. `sent`: has the attribute that the limit counts by; `who`: sends it.

        Raises RateLimited; and QueueDown or QueueFull, because what is limited so may not be had without its limit.
        """
        whose = _whose(limit, sent, who)
        self._hit(self._items[limit.setting], limit.setting, whose)

    def state(self) -> LimitState | None:
        """Where whoever asks stands, for the headers of the answer."""
        known: LimitState | None = g.get("limit_state")
        return known

    def _hit(
        self,
        item: RateLimitItem | None,
        what: str,
        whose: object,
        session: Session | None = None,
        place: Place | None = None,
    ) -> None:
        asked = (item.amount if item else 0, place.key, place.field, place.seconds, LEASE) if place else ()
        if item is None:
            if session is not None:
                self._counters.look(session, asked)
            return
        g.asked = session, asked
        allowed = self._limiter.limiter.hit(item, self._key(what, whose), SCOPE)
        _, count, left = g.window
        g.limit_state = LimitState(item.amount, max(0, item.amount - count), left)
        if not allowed:
            wait = max(1, left)
            raise RateLimited(retry_after=wait, headers={"Retry-After": str(wait)})

    def _window(self, item: RateLimitItem, what: str, whose: object) -> Limit:
        name = self._counters.prefixed_key(item.key_for(self._key(what, whose), SCOPE))
        return Limit(name, item.amount, item.get_expiry())

    def _key(self, what: str, whose: object) -> str:
        return hmac.digest(self._secret, f"{what}:{whose}".encode(), hashlib.sha256).hex()[:32]


def _whose(limit: RateLimit, sent: object, who: Caller | None) -> object:
    match limit.by:
        case "address":
            return address()
        case "caller":
            return who.id if who else None
    return getattr(sent, limit.by)


def address() -> str:
    """Where the request comes from, without a port that some proxies add. Of IPv6 the network: whoever has one address
    has all of it."""
    given = request.remote_addr or ""
    host = given[1:].partition("]")[0] if given.startswith("[") else given
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        place = ip_address(host)
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
