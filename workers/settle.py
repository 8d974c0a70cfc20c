"""Settlements: what is told to Redis once a batch has been committed, or could not be."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, Protocol

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
    @property
    def attempt(self) -> int: ...
    @property
    def started_at(self) -> datetime: ...


class Final(NamedTuple):
    """A job's outcome of record, as its receipt has it."""

    state: State
    result: Any
    error: dict[str, Any] | None
    resource: str | None
    attempts: int
    started_at: datetime | None
    finished_at: datetime


class HandBack(NamedTuple):
    """The job was not tried: back to the front of its queue, nothing counted."""


class Settlement(NamedTuple):
    """One lease and what becomes of it."""

    lease: Leased
    verdict: Final | Again | HandBack

    def arguments(self) -> tuple[str | bytes | int, ...]:
        """What settle.lua takes per job, in its order."""
        lease, verdict = self
        if isinstance(verdict, Final):
            return _final(lease, verdict)
        if isinstance(verdict, Again):
            verb, moment = "again" if verdict.counted else "snooze", verdict.moment
            due = (micros(verdict.at), micros(moment) if moment else "")
            return (lease.id, lease.queue, lease.token, verb, "", "", "", "", "", *due, "")
        return (lease.id, lease.queue, lease.token, "back", "", "", "", "", "", "", "", "")


def _final(lease: Leased, final: Final) -> tuple[str | bytes | int, ...]:
    """When it started, and at which attempt, stands in its hash, unless an earlier execution is the one that counts."""
    outcome = orjson.dumps({"result": final.result, "error": final.error, "resource": final.resource})
    return (
        lease.id,
        lease.queue,
        lease.token,
        "final",
        final.state.value,
        outcome if len(outcome) <= MOST_OUTCOME_BYTES else b"",
        instant(final.finished_at) or "",
        (instant(final.started_at) or "") if final.started_at != lease.started_at else "",
        final.attempts if final.attempts != lease.attempt else "",
        "",
        "",
        b"" if final.state is State.FAILED else SPENT,
    )
