"""What dead letters look like."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from api.shapes import Page, Problem, Shape
from jobs.kernel.outcome import State


class LetterLinks(Shape):
    """Where to go on from a dead letter."""

    self: str
    job: str
    resource: str | None = Field(description="what the job is about")


class LetterSummary(Shape):
    """A dead letter as lists show it: a job that has failed, and that nobody has discarded. Its id is the job's."""

    id: UUID
    kind: str = Field(examples=["orders.place"])
    queue: str = Field(examples=["orders"])
    user_id: UUID | None = Field(
        description="whose job it is; null of what was sent without a token, or by the service itself"
    )
    status: State = Field(description="of the job, as it now is: it may be on its next run")
    error: Problem | None
    run: int = Field(ge=1, description="how often it was sent, replays included")
    attempts: int = Field(ge=0, description="executions in that run")
    submitted_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    failed_at: datetime
    links: LetterLinks


class Letter(LetterSummary):
    """A dead letter, with what was sent."""

    payload: Any = Field(
        description="the body, each private value replaced by `[redacted]`; of what cannot be read, the types of its members; "
        "null where nothing is left, so that it cannot be replayed"
    )


class LetterPage(Page[LetterSummary]):
    """One page of dead letters."""
