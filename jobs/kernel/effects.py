"""Effects in Redis: what an outcome changes there. They stand in the job's receipt, and whoever tells the outcome applies
them first: the worker that settles the job, or the API where it reads the receipt before that. Each can be applied again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from threading import Lock, Thread
from time import sleep
from typing import Any, TypedDict
from uuid import UUID

from redis import Redis

from jobs.kernel import broker
from jobs.kernel.scripts import script
from models.views import ident

AGAIN = 0.2
"""Seconds between two tries to apply what could not be applied."""


class Effects(TypedDict, total=False):
    """`sessions`: by user, the session_version below which their sessions end. `drops`: scopes of the read cache whose pages
    are out of date, beside the one that follows from the job's kind and owner."""

    sessions: dict[str, int]
    drops: list[str]


def scope(domain: str, owner: UUID) -> str:
    """What reads keep together, and writes drop together: what somebody sees of a domain (`orders`, the first word of its kinds
    and of the endpoints that read it)."""
    return f"{domain}:{ident(owner)}"


def drops(domain: str, owners: Iterable[UUID]) -> Effects:
    """What these owners see of a domain has changed."""
    return {"drops": sorted({scope(domain, owner) for owner in owners})}


def sessions_end(user: UUID, version: int) -> Effects:
    """All sessions of a user that were opened before `session_version` became `version` end."""
    return {"sessions": {ident(user): version}}


def pairs(asked: list[Any]) -> dict[str, int]:
    """What `arguments` made, by user."""
    return dict(zip(asked[1::2], asked[2::2], strict=True))


def arguments(found: Iterable[Effects | None]) -> list[str | int]:
    """What the scripts take: how many users there are, then each with their version."""
    ends = [pair for effects in found if effects for pair in effects.get("sessions", {}).items()]
    return [len(ends), *(value for pair in ends for value in pair)]


class Applier:
    """Applies effects before an outcome is told."""

    def __init__(self, redis: Redis) -> None:
        self._apply = script(redis, Path(__file__).with_name("effects.lua"))
        self._left: dict[str, int] = {}
        self._lock = Lock()

    def apply(self, found: Iterable[Effects | None]) -> None:
        """While Redis does not answer, what they would change there is told from PostgreSQL; they are applied as soon as it
        does."""
        asked = arguments(found)
        if asked[0] and not self._applied(asked):
            with self._lock:
                begin = not self._left
                for user, version in pairs(asked).items():
                    self._left[user] = max(version, self._left.get(user, 0))
            if begin:
                Thread(target=self._apply_later, daemon=True, name="effects").start()

    def _applied(self, asked: list[str | int]) -> bool:
        try:
            self._apply(args=asked)
        except broker.LOST:
            return False
        return True

    def _apply_later(self) -> None:
        while self._left:
            sleep(AGAIN)
            left = dict(self._left)
            if self._applied([len(left), *(value for pair in left.items() for value in pair)]):
                with self._lock:
                    for user, version in left.items():
                        if self._left.get(user) == version:
                            del self._left[user]
