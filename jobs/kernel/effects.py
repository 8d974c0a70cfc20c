"""Effects in Redis: what an outcome changes there. They stand in the job's receipt, and whoever tells the outcome applies
them first: the worker that settles the job, or the API where it reads the receipt before that. Each can be applied again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict
from uuid import UUID

from redis import Redis

from jobs.kernel import broker
from jobs.kernel.scripts import script
from models.views import ident


class Effects(TypedDict):
    """`sessions`: by user, the session_version below which their sessions end."""

    sessions: dict[str, int]


def sessions_end(user: UUID, version: int) -> Effects:
    """All sessions of a user that were opened before `session_version` became `version` end."""
    return {"sessions": {ident(user): version}}


def arguments(found: Iterable[Effects | None]) -> list[str | int]:
    """What the scripts take: how many users there are, then each with their version."""
    ends = [pair for effects in found if effects for pair in effects["sessions"].items()]
    return [len(ends), *(value for pair in ends for value in pair)]


class Applier:
    """Applies effects before an outcome is told."""

    def __init__(self, redis: Redis) -> None:
        self._apply = script(redis, Path(__file__).with_name("effects.lua"))

    def apply(self, found: Iterable[Effects | None]) -> None:
        """Without Redis nothing is applied: what they would change there is then told from PostgreSQL."""
        asked = arguments(found)
        if asked[0]:
            try:
                self._apply(args=asked)
            except broker.LOST:
                return
