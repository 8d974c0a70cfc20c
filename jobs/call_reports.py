"""What becomes of calls, as the carrier tells it: by callbacks, and when it is asked for what never came (CONTRACT.md §5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import structlog
from pydantic import Field, StringConstraints

from jobs.call_book import BEFORE, CallBook
from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.effects import drops
from jobs.kernel.envelope import Job
from jobs.kernel.errors import NotFound, Rejected
from jobs.kernel.outcome import Again, Outcome, rejected, succeeded
from jobs.kernel.policy import Access, Policy, Retry
from jobs.kernel.ports import CARRIER, Conclusion, Outside, Placed, Refused, Trouble
from models import Call, call_store
from models.call import Status

log = structlog.get_logger(__name__)

TOLD = Policy(queue="default", access=Access.OPERATOR, retry=Retry(attempts=8, base=0.5, cap=60))
RECONCILED = Policy(queue="calls", access=Access.OPERATOR, retry=Retry(attempts=1), timeout=150)

MOST_CLOSED = 50
RECONCILED_WITHIN = 25.0
"""Seconds after which one reconciliation begins no more, and leaves the rest to the next."""

WATCHED_FOR = timedelta(days=1)
"""How long the carrier is asked again and again for a call whose answer was lost."""

ANSWERED_WITHIN = timedelta(minutes=2)
"""After a callback that came before the answer to the request for its call, at the latest, that answer is written down."""


Sid = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Told = Literal["queued", "initiated", "ringing", "in_progress", "completed", "busy", "no_answer", "failed", "canceled"]


class RecordStatus(Command, kind="calls.record_status", policy=TOLD):
    """Record what the carrier tells of a call.

    `call`: the one that its URL was made for; `at`: when it says it was.
    """

    sid: Sid
    status: Told
    call: UUID | None = None
    sequence: int | None = Field(None, ge=0)
    at: datetime | None = None
    duration: int | None = Field(None, ge=0, le=10_000_000)
    answered_by: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")] | None = None

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        """The calls are locked together; what is told of one call by several is taken in their order of sending."""
        commands = [job.command for job in jobs]
        ids = {command.call for command in commands if command.call}
        calls = call_store.lock_many(ctx.session, ids, {command.sid for command in commands})
        by_id, by_sid = {call.id: call for call in calls}, {call.sid: call for call in calls}
        told: dict[UUID, Outcome] = {}
        for job in sorted(jobs, key=lambda job: (job.command.sequence or 0, job.moment)):
            call = by_id.get(job.command.call) or by_sid.get(job.command.sid)
            told[job.id] = job.command.record(ctx, call) if call else _of_nobody(ctx, job)
        return [told[job.id] for job in jobs]

    def record(self, ctx: Context, call: Call) -> Outcome:
        """What is told of a call."""
        placed = Placed(self.sid, self.status, duration=self.duration, answered_by=self.answered_by)
        believed = self.at is not None and call.created_at - BEFORE <= self.at <= ctx.now + BEFORE
        at = self.at if believed else ctx.now
        try:
            CallBook(ctx).hear(call, placed, "callback", at, self.sequence, signed=self.call is not None)
        except Rejected as refusal:
            return rejected(refusal)
        return succeeded(effects=drops("calls", [call.owner_id]))


def _of_nobody(ctx: Context, job: Job[Any]) -> Outcome:
    """What is told of a call that goes by no name that we know; its answer may be on its way."""
    if ctx.now - job.moment < ANSWERED_WITHIN:
        return Again(ctx.now + ANSWERED_WITHIN / 20, counted=False)
    return rejected(NotFound("No call of ours goes by this name."))


class ReconcileCalls(Command, kind="calls.reconcile", policy=RECONCILED, every="call_silent_seconds"):
    """Ask the carrier for calls whose callbacks never came, and for those whose answer was lost and whose job is over."""

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        with outside.transaction() as ctx:
            self._close_left(ctx, outside)
        began, asked = monotonic(), 0
        while monotonic() - began < RECONCILED_WITHIN and (call := self._next(outside)):
            asked += 1
            try:
                self._ask(outside, call)
            except (Trouble, Refused, Rejected) as answer:
                log.warning("call_not_reconciled", call_id=str(call.id), error=type(answer).__name__)
        return lambda ctx: succeeded({"asked": asked})

    def _close_left(self, ctx: Context, outside: Outside) -> None:
        """Close what nobody places any more: it was never asked for, and its job is over, or lost."""
        long_ago = ctx.now - timedelta(seconds=ctx.settings.call_give_up_seconds)
        left = call_store.lock_left(ctx.session, long_ago, MOST_CLOSED)
        known = outside.known([call.id for call, _ in left])
        for call, is_over in left:
            if is_over or call.id not in known:
                call.reason = "Its job was over before it was placed."
                CallBook(ctx).advance(call, Status.CANCELED)

    def _next(self, outside: Outside) -> Call | None:
        """The next to ask for. It is looked at from now on, so that nobody else asks, nor this one again, whatever comes of it."""
        with outside.transaction() as ctx:
            silent_since = ctx.now - timedelta(seconds=ctx.settings.call_silent_seconds)
            call = call_store.lock_next(ctx.session, silent_since, ctx.now - WATCHED_FOR)
            if call is not None:
                call.looked_at = ctx.now
        return call

    def _ask(self, outside: Outside, call: Call) -> None:
        with outside.enter(CARRIER):
            if call.sid is not None:
                seen = outside.carrier.fetch(call.sid)
            else:
                found = outside.carrier.find(call.phone_number, (call.asked_at or call.created_at) - BEFORE)
        with outside.transaction() as ctx:
            book = CallBook(ctx)
            if call.sid is None:
                book.looked(call.id, found)
            elif seen is not None:
                book.hear(book.get(call.id), seen, "reconciliation")
            else:
                book.forget(book.get(call.id))
