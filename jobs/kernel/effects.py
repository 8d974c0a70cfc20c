"""Effects in Redis: what an outcome changes there. They stand in the job's receipt, and whoever tells the outcome applies
them first: the worker that settles the job, or the API where it reads the receipt before that. Each can be applied again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from threading import Lock, Thread
from time import sleep
from typing import TypedDict
from uuid import UUID

import structlog
from redis import Redis

from jobs.kernel import broker, keys
from jobs.kernel.scripts import script
from models.views import ident

log = structlog.get_logger(__name__)

AGAIN = 0.2
"""Seconds between two tries to apply what could not be applied."""

EVERYONE = "*"
"""In place of an owner: whoever sees what all own."""

KNOWN = 10_000
"""Owners whose scopes are remembered."""


class Effects(TypedDict, total=False):
    """`sessions`: by user, the session_version below which their sessions end. `drops`: scopes of the read cache whose pages
    are out of date, beside the one that follows from the job's kind and owner."""

    sessions: dict[str, int]
    drops: list[str]


Found = Iterable[Effects | None]


def scope(domain: str, owner: UUID | None) -> str:
    """What reads keep together, and writes drop together: what somebody sees of a domain (`orders`, the first word of its kinds
    and of the endpoints that read it). Of nobody: what admins see of all of it, which goes with each drop."""
    return f"{domain}:{ident(owner) if owner else EVERYONE}"


def drops(domain: str, owners: Iterable[UUID]) -> Effects:
    """What these owners see of a domain has changed."""
    return {"drops": sorted({scope(domain, owner) for owner in owners})}


@lru_cache(KNOWN)
def implied(kind: str, owner: UUID | None) -> Effects:
    """What follows from a job's kind and owner, and so is written down nowhere. To be left as it is."""
    return drops_of([scope(kind.partition(".")[0], owner)])


def drops_of(scopes: Iterable[str], effects: Effects | None = None) -> Effects:
    """These scopes have changed, beside what these effects say."""
    known: Effects = effects or {}
    return {**known, "drops": sorted({*known.get("drops", ()), *scopes})}


def sessions_end(user: UUID, version: int) -> Effects:
    """All sessions of a user that were opened before `session_version` became `version` end."""
    return {"sessions": {ident(user): version}}


def together(found: Found) -> Effects:
    """All of them in one."""
    sessions: dict[str, int] = {}
    scopes: set[str] = set()
    for effects in filter(None, found):
        scopes.update(effects.get("drops", ()))
        for user, version in effects.get("sessions", {}).items():
            sessions[user] = max(version, sessions.get(user, 0))
    return {"sessions": sessions, "drops": list(scopes)}


def arguments(found: Found, lag: int = 0) -> list[str | int]:
    """What the scripts take. `lag`: seconds by which reads may be behind, because they come from a replica."""
    effects = together(found)
    scopes = {*effects["drops"], *(scope(name.partition(":")[0], None) for name in effects["drops"])}
    ends = [value for pair in effects["sessions"].items() for value in pair]
    return [len(effects["sessions"]), *ends, lag, len(scopes), *map(keys.cache, scopes)]


class Applier:
    """Applies effects before an outcome is told."""

    def __init__(self, redis: Redis, lag: int = 0) -> None:
        """lag: see `arguments`."""
        self._script = script(redis, Path(__file__).with_name("effects.lua"))
        self._lag = lag
        self._left: Effects | None = None
        self._lock = Lock()

    @property
    def owes(self) -> bool:
        """Whether something is still to be applied: then what reads have kept may be out of date."""
        return self._left is not None

    def apply(self, found: Found) -> None:
        """While Redis takes no writes, what they would change there is told from PostgreSQL."""
        wanted = [effects for effects in found if effects]
        if wanted and not self._applied(wanted):
            self.owe(wanted)

    def owe(self, found: Found) -> None:
        """Apply them as soon as Redis answers."""
        with self._lock:
            begin = self._left is None
            self._left = together([self._left, *found])
        if begin:
            Thread(target=self._apply_later, daemon=True, name="effects").start()

    def _applied(self, found: Found) -> bool:
        try:
            self._script(args=arguments(found, self._lag))
        except (*broker.LOST, broker.ResponseError) as lost:  # it is away, or takes no writes now
            log.warning("effects_not_applied", error=type(lost).__name__)
            return False
        return True

    def _apply_later(self) -> None:
        """What came while it was tried is left for the next try, with the rest."""
        while self._left is not None:
            sleep(AGAIN)
            left = self._left
            if self._applied([left]):
                with self._lock:
                    if self._left is left:
                        self._left = None
