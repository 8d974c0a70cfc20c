"""Counters in Redis, for Flask-Limiter: what counts a request also looks whether its session lasts, in one round trip that
all who count at the same moment share."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, time
from typing import Any, ClassVar

import structlog
from flask import g
from limits.storage.redis import RedisStorage
from redis import Redis

from jobs.kernel import broker
from jobs.kernel.calls import Calls
from jobs.kernel.errors import QueueDown, QueueFull, SessionEnded
from jobs.kernel.submit import Session

PAUSE = 1.0
"""Seconds for which Redis is not asked to count again after it did not answer."""

KNOWN = 10_000
"""Ended sessions that are remembered: no session begins again."""

ENDED, NO_ROOM = -1, -2

Asked = tuple[str | bytes | int, ...]
"""Where the answer may be kept, as count.lua takes it; nothing where it is not."""

log = structlog.get_logger(__name__)


class Counters(RedisStorage):
    """Fixed windows, each counted and looked at at once."""

    # Its base declares it without ClassVar, which a list in a class has to have.
    STORAGE_SCHEME: ClassVar[list[str]] = ["millrace"]  # type: ignore[misc]

    def __init__(self, uri: str, redis: Redis, **_: Any) -> None:
        super().__init__("redis://", connection_pool=redis.connection_pool)
        self._count = Calls(redis, Path(__file__).with_name("count.lua"))
        self._away_until = 0.0
        self._ended: set[Session] = set()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """The count in the window, this one included. Raises what `look` does, and QueueFull."""
        session, place = g.pop("asked", (None, ()))
        count, left = self._ask(self.prefixed_key(key), expiry, amount, session, place)
        g.window = key, count, max(0, left)
        return count

    def look(self, session: Session, place: Asked = ()) -> None:
        """Count nothing, and only see whether a session lasts. Raises SessionEnded, QueueDown."""
        self._ask("", 0, 0, session, place)

    def get(self, key: str) -> int:
        known = g.get("window")
        return known[1] if known and known[0] == key else super().get(key)

    def get_expiry(self, key: str) -> float:
        known = g.get("window")
        return time() + known[2] if known and known[0] == key else super().get_expiry(key)

    def _ask(self, key: str, expiry: int, amount: int, session: Session | None, place: Asked) -> tuple[int, int]:
        if session in self._ended:
            raise SessionEnded
        if monotonic() < self._away_until:
            raise QueueDown
        try:
            count, left, *found = self._count([key, expiry, amount, *(session or ("", "")), *place])
        except broker.LOST as lost:
            self._away_until = monotonic() + PAUSE
            log.warning("limits_not_counted")
            raise QueueDown from lost
        if count == ENDED and session:
            self._remember(session)
            raise SessionEnded
        if count == NO_ROOM:
            raise QueueFull(retry_after=5)
        if found:
            g.found = found
        return int(count), int(left)

    def _remember(self, session: Session) -> None:
        if len(self._ended) >= KNOWN:
            self._ended.clear()
        self._ended.add(session)
