"""Sessions: who is signed in, and from where. They live in Redis; what ends all of a user's is a number in their row.

A session is a family of refresh tokens, one good at a time. Its record is a field of the hash of its user's sessions, so
that whether it lasts is one look, and ending all of them one key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from time import time
from typing import cast
from uuid import UUID, uuid4

import orjson
from redis import Redis

from jobs.kernel.errors import SessionEnded
from jobs.kernel.keys import sessions as key_of
from jobs.kernel.scripts import script
from jobs.kernel.submit import Session
from models.views import ident, instant

LIFETIME = 7 * 86_400
"""Seconds for which a refresh token is good (CONTRACT.md §3)."""

MOST = 50
"""Sessions of one user; one more ends that which was used least lately."""

AGENT = 200
"""Characters that are kept of what a client calls itself."""

HERE = Path(__file__).parent


class Rotation(StrEnum):
    """What became of a refresh token."""

    ROTATED = "rotated"
    ENDED = "ended"
    REUSED = "reused"


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session, as its user sees it. Times are UTC."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    user_agent: str | None

    def view(self, *, current: bool) -> dict[str, object]:
        """As it is listed."""
        return {
            "id": ident(self.id),
            "created_at": instant(self.created_at),
            "last_used_at": instant(self.last_used_at),
            "expires_at": instant(self.expires_at),
            "user_agent": self.user_agent,
            "current": current,
        }


class UserSessions:
    """Opens, rotates and ends sessions. Its methods raise one of `broker.LOST` when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._open = script(redis, HERE / "session_open.lua")
        self._rotate = script(redis, HERE / "session_rotate.lua")
        self._end = script(redis, HERE / "session_end.lua")

    def open(self, user: UUID, version: int, jti: str, agent: str | None) -> UUID | None:
        """A new session, whose first refresh token is `jti`. None when the user's sessions have ended since `version` was
        read from their row."""
        now, session = int(time()), uuid4()
        record = {"version": version, "jti": jti, "created": now, "used": now, "until": now + LIFETIME}
        record |= {"agent": agent[:AGENT]} if agent else {}
        asked: list[str | bytes | int] = [
            ident(user),
            version,
            ident(session),
            orjson.dumps(record),
            now,
            now + LIFETIME,
            MOST,
        ]
        return session if self._open(args=asked) else None

    def rotate(self, user: UUID, session: str, jti: str, following: str) -> Rotation:
        """Exchange the refresh token `jti` for `following`; of many who try it at once one succeeds at most."""
        now = int(time())
        return Rotation(self._rotate(args=[ident(user), session, jti, following, now, now + LIFETIME]).decode())

    def end(self, user: UUID, session: UUID | str, *, asked_in: str) -> bool:
        """End one of a user's sessions; whether there was such a one. Raises SessionEnded when that has ended which it was
        asked in."""
        ended = self._end(args=[key_of(user), asked_in, str(session)])
        if ended < 0:
            raise SessionEnded
        return bool(ended)

    def of(self, user: UUID) -> list[SessionRecord]:
        """A user's sessions, the newest first."""
        found = cast(dict[bytes, bytes], self._redis.hgetall(key_of(user)))
        now = time()
        records = [(UUID(name.decode()), orjson.loads(record)) for name, record in found.items()]
        listed = [
            SessionRecord(
                session, _at(record["created"]), _at(record["used"]), _at(record["until"]), record.get("agent")
            )
            for session, record in records
            if record["until"] > now
        ]
        return sorted(listed, key=lambda each: (each.created_at, each.id), reverse=True)


def named(user: UUID, session: str) -> Session:
    """A session as the scripts take it that look whether it lasts."""
    return Session(key_of(user), session)


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
