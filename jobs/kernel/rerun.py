"""Rerun: a failed job becomes a job again, by what its receipt has kept of it. Its receipt gives way to that of the later run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from redis import Redis

from config import Settings
from jobs.kernel import broker, registry
from jobs.kernel.envelope import dump
from jobs.kernel.errors import QueueDown
from jobs.kernel.policy import Policy, Priority
from jobs.kernel.scripts import script
from jobs.kernel.submit import CHUNK
from jobs.kernel.times import micros
from models.views import ident

UNKNOWN = Policy(queue="default")
"""How a kind is treated that is not declared here: a worker may know it by now."""


class Rerun(StrEnum):
    """What came of it. `UNDER_WAY`: somebody was faster, and the run has begun, or is over. `FULL`: there is no room."""

    NEW = "new"
    UNDER_WAY = "under_way"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A failed job, as its receipt has it. `envelope`: None of one that could not be read. Times are UTC."""

    id: UUID
    kind: str
    owner: UUID | None
    run: int
    attempts: int
    fingerprint: str | None
    resource: str | None
    submitted_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime
    error: dict[str, Any] | None
    envelope: dict[str, Any] | None
    discarded_at: datetime | None = None

    @property
    def can_rerun(self) -> bool:
        return self.envelope is not None and self.discarded_at is None

    @property
    def policy(self) -> Policy:
        kind = registry.find(self.kind)
        return kind.policy if kind is not None else UNKNOWN


class Rerunner:
    """Runs failed jobs again, for any number of threads."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._rerun = script(redis, Path(__file__).with_name("rerun.lua"))
        self._bounds = (settings.max_queue_depth, settings.max_memory_percent)

    def rerun(self, letters: Sequence[DeadLetter]) -> list[Rerun]:
        """Queue the next run of each, which `can_rerun`; what came of each, in order. When this returns, they are on disk.

        Its attempts are counted anew; its effective moment stays. Raises QueueDown, where some of them may be queued, and it is
        safe to ask again; and ResponseError.
        """
        words: list[bytes] = []
        try:
            for start in range(0, len(letters), CHUNK):
                given = [value for letter in letters[start : start + CHUNK] for value in _arguments(letter)]
                words += self._rerun(args=[*self._bounds, *given])
        except broker.LOST as lost:
            raise QueueDown from lost
        return [Rerun(word.decode()) for word in words]


def _arguments(letter: DeadLetter) -> tuple[str | bytes | int, ...]:
    """What rerun.lua takes per job, in its order."""
    envelope = dict(letter.envelope or {})
    moment, policy = envelope.pop("moment", ""), letter.policy
    return (
        ident(letter.id),
        _priority(envelope).lane(policy.queue),
        letter.kind,
        dump(envelope),
        ident(letter.owner) if letter.owner else "",
        letter.fingerprint or "",
        int(policy.timeout),
        envelope.get("target") or "",
        micros(letter.submitted_at),
        micros(letter.run_at) if letter.run_at else "",
        moment,
        letter.run + 1,
    )


def _priority(envelope: dict[str, Any]) -> Priority:
    named = envelope.get("priority")
    return Priority(named) if named in set(Priority) else Priority.NORMAL
