"""The vocabulary of outcomes: how one execution of a job ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from jobs.kernel.effects import Effects
from jobs.kernel.errors import AppError, Cancelled, Failed, Rejected, Snooze

if TYPE_CHECKING:
    from jobs.kernel.command import Command


class State(StrEnum):
    """What a client sees as a job's `status` (CONTRACT.md §2)."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.REJECTED, State.FAILED, State.CANCELED})


class FollowUp(NamedTuple):
    """A command to send, as nobody's. `id`: of its job; one that follows from what it is about, so that it is sent once."""

    id: UUID
    command: Command


class Done(NamedTuple):
    """Final: `state` is one of the four final states; `result` or `error` is a JSON value. `effects`: what is to change
    in Redis before the outcome is told. `progress`: `{done, total}`, of a job with many items. `follow_ups`: jobs to submit
    once this one's receipt is committed; whoever relies on them looks for itself, now and then, for what was lost in between."""

    state: State
    result: Any = None
    error: dict[str, Any] | None = None
    effects: Effects | None = None
    progress: dict[str, int] | None = None
    follow_ups: tuple[FollowUp, ...] = ()


class Again(NamedTuple):
    """Not final: run it once more at `at`. `counted`: the wait is a retry, and used up an attempt.

    `moment`: the job's new effective moment, where the wait moves it.
    """

    at: datetime
    counted: bool
    moment: datetime | None = None


Outcome = Done | Again


def succeeded(
    result: Any = None,
    *,
    effects: Effects | None = None,
    progress: dict[str, int] | None = None,
    follow_ups: Sequence[FollowUp] = (),
) -> Done:
    """The effect took place; `result` is the resource as a GET would show it."""
    return Done(State.SUCCEEDED, result=result, effects=effects, progress=progress, follow_ups=tuple(follow_ups))


def rejected(error: AppError) -> Done:
    """A rule said no; never tried again."""
    return Done(State.REJECTED, error=error.problem())


def failed(error: AppError) -> Done:
    """Tries are used up; a dead letter."""
    return Done(State.FAILED, error=error.problem())


Said = Rejected | Failed | Snooze | Cancelled
SAID = (Rejected, Failed, Snooze, Cancelled)
"""What a job raises to say how it ends; anything else that it raises is a defect, or somebody else's."""


def said(what: Said) -> Outcome:
    """The outcome that was raised."""
    match what:
        case Rejected():
            return rejected(what)
        case Failed():
            return failed(what)
        case Snooze(until=until, moment=moment):
            return Again(until, counted=False, moment=moment)
        case Cancelled():
            return Done(State.CANCELED)
