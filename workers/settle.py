"""Settlements: what is told to Redis once a batch has been committed, or could not be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson

from jobs.kernel.envelope import FUNCTION
from jobs.kernel.outcome import Again, State
from jobs.kernel.times import micros
from models.views import instant

SPENT = orjson.dumps([FUNCTION, None, [], {}])
"""RQ's `data` of a job that will never run again: the payload is gone, the form stays."""

MOST_OUTCOME_BYTES = 8 * 1024
"""A larger outcome is told by its receipt alone."""


class Leased(Protocol):
    """What names a lease."""

    @property
    def id(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def token(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Final:
    """A job's outcome of record, as its receipt has it."""

    state: State
    result: Any
    error: dict[str, Any] | None
    resource: str | None
    attempts: int
    started_at: datetime | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class HandBack:
    """The job was not tried: back to the front of its queue, nothing counted."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """One lease and what becomes of it."""

    lease: Leased
    verdict: Final | Again | HandBack

    def arguments(self) -> tuple[str | bytes | int, ...]:
        """What settle.lua takes per job, in its order."""
        named = (self.lease.id, self.lease.queue, self.lease.token)
        match self.verdict:
            case Final() as final:
                return (*named, "final", *_final(final))
            case Again(at=at, counted=counted, moment=moment):
                verb = "again" if counted else "snooze"
                return (*named, verb, "", "", "", "", "", micros(at), micros(moment) if moment else "", "")
            case HandBack():
                return (*named, "back", *[""] * 8)


def _final(final: Final) -> tuple[str | bytes | int, ...]:
    outcome = orjson.dumps({"result": final.result, "error": final.error, "resource": final.resource})
    return (
        final.state.value,
        outcome if len(outcome) <= MOST_OUTCOME_BYTES else b"",
        instant(final.finished_at) or "",
        instant(final.started_at) or "",
        final.attempts,
        "",
        "",
        b"" if final.state is State.FAILED else SPENT,
    )
