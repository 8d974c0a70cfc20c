"""Calls: placed and ended, as their users ask for it (CONTRACT.md §5). What the carrier tells of them is `jobs.call_reports`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from config import Settings
from jobs import call_links, precondition
from jobs.call_book import BEFORE, CallBook
from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Conflict, Forbidden, Invalid, RateLimited
from jobs.kernel.failpoints import Point, reach
from jobs.kernel.outcome import Again, Outcome, rejected, succeeded
from jobs.kernel.policy import Policy, RateLimit, Retry
from jobs.kernel.ports import (
    CARRIER,
    Busy,
    Carrier,
    Conclusion,
    Dial,
    LeaseLost,
    Lost,
    Outside,
    Placed,
    Refused,
    Trouble,
    Unreached,
)
from jobs.phone_numbers import PhoneNumber, countries
from models import Call, call_store
from models.call import Status

RETRY = Retry(attempts=8, base=0.5, cap=60)
PLACED = Policy(
    queue="calls",
    retry=RETRY,
    limits=(
        RateLimit("rate_limit_calls_user", by="caller", per_job=True),
        RateLimit("rate_limit_calls_destination", by="phone_number", per_job=True),
    ),
)
CHANGED = Policy(queue="calls", retry=RETRY)
CustomerName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
    ),
    Field(description="whom the call greets", examples=["Ada Lovelace"]),
]
Workflow = Annotated[Literal["support", "sales", "reminder"], Field(description="what the call is about")]


class PlaceCall(Command, kind="calls.place", route="POST /v1/calls", policy=PLACED, creates=True):
    """Place a call.

    Rejected as `call_in_progress` while an earlier call of yours to that number is live, or unknown. The job succeeds when
    the carrier has taken the call; what becomes of it then, the call's own `status` tells.
    """

    phone_number: PhoneNumber
    customer_name: CustomerName
    workflow: Workflow

    def check(self, settings: Settings) -> None:
        if settings.call_countries and not countries(self.phone_number) & set(settings.call_countries):
            wrong = {"field": "phone_number", "message": "Calls to this country are not allowed"}
            raise Invalid("Calls to this country are not allowed.", code="country_not_allowed", errors=[wrong])

    def under_way(self, ctx: Context, job: Job[Self]) -> bool:
        call = call_store.lock(ctx.session, job.id)
        return call is not None and (call.asked_at is not None or call.sid is not None)

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        carrier = outside.carrier
        with outside.transaction() as ctx:
            call = self._opened(ctx, job)
            settled = call.sid is not None or Status(call.status).final or CallBook(ctx).is_given_up(call)
        if settled:
            return lambda ctx: CallBook(ctx).outcome(CallBook(ctx).get(job.id))
        if call.asked_at is not None and call.status == Status.DIALING:
            return lambda ctx: CallBook(ctx).lose(job.id)
        if call.asked_at is not None:
            return _look(outside, call)
        try:
            return self._ask(outside, carrier, job)
        except RateLimited as refusal:
            refused = refusal
        return lambda ctx: CallBook(ctx).refuse(job.id, refused)

    def _opened(self, ctx: Context, job: Job[Self]) -> Call:
        if job.owner is None:
            raise Forbidden
        wanted = {name: vars(self)[name] for name in ("phone_number", "customer_name", "workflow")}
        return CallBook(ctx).open(job.id, job.owner, job.moment, wanted)

    def _ask(self, outside: Outside, carrier: Carrier, job: Job[Self]) -> Conclusion:
        """Ask the carrier, once. That it is asked is committed before, so that nobody asks again who cannot know."""
        asks = 0
        dial = Dial(
            to=self.phone_number,
            status_url=call_links.url(outside.settings, call_links.STATUS, job.id),
            voice_url=call_links.url(outside.settings, call_links.VOICE, job.id),
        )
        try:
            with outside.enter(CARRIER, turn=str(job.id)) as permit:
                if permit.probe:
                    carrier.check()
                with outside.transaction() as ctx:
                    asks = CallBook(ctx).dial(job.id).asks
                reach(Point.CALL_BEGINS)
                outside.insist()
                placed = carrier.place(dial)
                reach(Point.CALL_ANSWERED, Lost)
        except LeaseLost:
            with outside.transaction() as ctx:
                CallBook(ctx).not_asked(job.id, asks)
            raise
        except (Trouble, Refused) as answer:
            return _without_a_call(job.id, asks, answer)
        return lambda ctx: CallBook(ctx).taken(job.id, placed)


def _without_a_call(call_id: UUID, asks: int, answer: Trouble | Refused) -> Conclusion:
    """What becomes of a call that the carrier has not said it took. `asks`: 0 where only a probe was made."""
    if not asks or isinstance(answer, Busy | Unreached):
        return lambda ctx: CallBook(ctx).wait(call_id, asks)
    if isinstance(answer, Refused):
        refusal = Conflict(answer.reason, code="call_refused", provider_code=answer.code)
        return lambda ctx: CallBook(ctx).refuse(call_id, refusal)
    return lambda ctx: CallBook(ctx).lose(call_id)


def _look(outside: Outside, call: Call) -> Conclusion:
    """Ask the carrier which calls to that number it has had."""
    try:
        with outside.enter(CARRIER):
            found = outside.carrier.find(call.phone_number, (call.asked_at or call.created_at) - BEFORE)
    except (Trouble, Refused):
        return lambda ctx: CallBook(ctx).outcome(CallBook(ctx).get(call.id))
    return lambda ctx: CallBook(ctx).outcome(CallBook(ctx).looked(call.id, found))


class EndCall(Command, kind="calls.cancel", route="PATCH /v1/calls/{id}", policy=CHANGED, target=Call):
    """End a call.

    `canceled` ends one that nobody has answered yet, also one that waits here for its turn; `completed` also hangs up.
    Rejected as `call_final` when it has ended already.
    """

    status: Annotated[Literal["canceled", "completed"], Field(description="how it is to end")]

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        """To ask the carrier twice for an end does no harm: so where no answer comes, this is retried."""
        with outside.transaction() as ctx:
            call = self._open(ctx, job)
            call.ended_by = job.id
        if call.sid is None:
            return lambda ctx: self._cancel(ctx, job)
        try:
            with outside.enter(CARRIER):
                placed = outside.carrier.end(call.sid, self.status)
        except Refused as refusal:
            return self._refused(job, refusal.reason)
        return lambda ctx: self._ended(ctx, job, placed)

    def _open(self, ctx: Context, job: Job[Self]) -> Call:
        """The call, locked, as long as it can be ended. Raises NotFound, Forbidden, Conflict, PreconditionFailed; and Snooze
        while it is just being placed."""
        call = CallBook(ctx).get(job.target or job.id)
        if call.owner_id != job.owner and not ctx.is_admin(job.owner):
            raise Forbidden
        if call.ended_by == job.id:
            return call
        precondition.same_version(job, call.version)
        if Status(call.status).final:
            raise Conflict("The call has ended.", code="call_final")
        return call

    def _cancel(self, ctx: Context, job: Job[Self]) -> Outcome:
        """End a call that the carrier does not know of."""
        call = self._open(ctx, job)
        if call.sid is not None:  # it has been placed meanwhile
            return Again(ctx.now, counted=False)
        if call.asked_at is not None and call.status == Status.DIALING:
            return Again(ctx.now + timedelta(seconds=1), counted=False)
        if call.asked_at is not None and not (ctx.is_admin(job.owner) and self.status == "canceled"):
            raise Conflict("Nobody knows yet whether the call was placed.", code="call_unknown")
        if call.asked_at is not None:
            call.reason = "Closed by an admin; whether it was placed is not known."
        CallBook(ctx).advance(call, Status.CANCELED)
        return succeeded(call_store.view(ctx.session, call))

    def _ended(self, ctx: Context, job: Job[Self], placed: Placed) -> Outcome:
        book = CallBook(ctx)
        call = book.get(job.target or job.id)
        book.hear(call, placed, "worker")
        if self.status == "canceled" and call.status == Status.IN_PROGRESS:
            return rejected(Conflict("The call has been answered; `completed` hangs up.", code="call_answered"))
        return succeeded(call_store.view(ctx.session, call))

    def _refused(self, job: Job[Self], reason: str) -> Conclusion:
        """The carrier refused; where it was asked before, because that was heard, though the answer was not."""
        if job.attempt == 1:
            return lambda ctx: rejected(Conflict(reason, code="call_not_ended"))
        return lambda ctx: succeeded(call_store.view(ctx.session, CallBook(ctx).get(job.target or job.id)))
