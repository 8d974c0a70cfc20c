"""Calls: placed, ended, told of by the carrier, and reconciled with it (CONTRACT.md §5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.outcome import Outcome
from jobs.kernel.policy import Access, Policy, Retry
from models.call import Status

TOLD = Policy(queue="default", access=Access.OPERATOR, retry=Retry(attempts=8, base=0.5, cap=60))

Sid = Annotated[str, StringConstraints(pattern=r"^CA[0-9a-fA-F]{32}$")]
Told = Literal["queued", "initiated", "ringing", "in_progress", "completed", "busy", "no_answer", "failed", "canceled"]


class RecordStatus(Command, kind="calls.record_status", policy=TOLD):
    """Record what the carrier tells of a call. `call`: the one that its URL was made for; `at`: when it says it was."""

    sid: Sid
    status: Told
    call: UUID | None = Field(None, strict=False)
    sequence: int | None = Field(None, ge=0)
    at: datetime | None = Field(None, strict=False)
    duration: int | None = Field(None, ge=0)
    answered_by: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")] | None = None

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        raise NotImplementedError(Status)
