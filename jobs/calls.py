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
from jobs.kernel.errors import Conflict, Forbidden, Invalid, Rejected, Snooze
from jobs.kernel.failpoints import Point, reach
from jobs.kernel.outcome import Again, Outcome, rejected, succeeded
from jobs.kernel.policy import Policy, RateLimit, Retry
from jobs.kernel.ports import (
    CARRIER,
    Busy,
    Carrier,
    Conclusion,
    Denied,
    Dial,
    LeaseLost,
    Lost,
    Outside,
    Placed,
    Refused,
    Trouble,
    Unreached,
)
from jobs.kernel.private import PRIVATE
from jobs.phone_numbers import PhoneNumber, countries
from models import Call, call_store
from models.call import Status

RETRY = Retry(attempts=8, base=0.5, cap=60)
TIMEOUT = 150
"""Seconds: a probe and a dial, each with a connection to all addresses of the carrier in turn, and their answers. Whoever is
stopped before has lost what the carrier says."""

PLACED = Policy(
    queue="calls",
    retry=RETRY,
    timeout=TIMEOUT,
    limits=(
        RateLimit("rate_limit_calls_user", by="caller", per_job=True),
        RateLimit("rate_limit_calls_destination", by="phone_number", per_job=True),
    ),
)
CHANGED = Policy(queue="hangups", retry=RETRY, timeout=TIMEOUT)  # taken before what is still to be placed
CustomerName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
    ),
    Field(description="whom the call greets", examples=["Ada Lovelace"]),
    PRIVATE,
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

    def withdraw(self, ctx: Context, job: Job[Self]) -> None:
        CallBook(ctx).withdraw(job.id)

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        with outside.transaction() as ctx:
            call = self._opened(ctx, job)
        if call.sid is not None or Status(call.status).final:
            return lambda ctx: CallBook(ctx).outcome(CallBook(ctx).get(job.id))
        if call.asked_at is not None and call.status == Status.DIALING:
            return lambda ctx: CallBook(ctx).lose(job.id)
        if call.asked_at is not None:
            return _look(outside, call)
        try:
            self.check(outside.settings)
            return self._ask(outside, outside.carrier, job)
        except Rejected as refusal:
            refused = refusal
        return lambda ctx: CallBook(ctx).refuse(job.id, 0, refused)

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
        return lambda ctx: CallBook(ctx).refuse(call_id, asks, refusal)
    return lambda ctx: CallBook(ctx).lose(call_id)


def _look(outside: Outside, call: Call) -> Conclusion:
    """Ask the carrier which calls to that number it has had; where it cannot be asked, that is tried again later."""
    asked_at = call.asked_at or call.created_at
    try:
        with outside.enter(CARRIER):
            found = outside.carrier.find(call.phone_number, asked_at - BEFORE)
    except (Trouble, Refused, Rejected, Snooze):
        return lambda ctx: CallBook(ctx).outcome(CallBook(ctx).get(call.id))
    return lambda ctx: CallBook(ctx).outcome(CallBook(ctx).looked(call.id, found))


class EndCall(Command, kind="calls.cancel", route="PATCH /v1/calls/{id}", policy=CHANGED, target=Call):
    """End a call.

    `canceled` ends one that nobody has answered yet, also one that waits here for its turn; `completed` also hangs up.
    Rejected as `call_final` when it has ended already.
    """

    status: Annotated[Literal["canceled", "completed"], Field(description="how it is to end")]

    def under_way(self, ctx: Context, job: Job[Self]) -> bool:
        call = call_store.lock(ctx.session, job.target or job.id)
        return call is not None and call.ended_by == job.id and call.sid is not None

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        """To ask the carrier twice for an end does no harm: so where no answer comes, this is retried."""
        with outside.transaction() as ctx:
            call = self._open(ctx, job)
            asked_before, call.ended_by = call.ended_by == job.id, job.id
        if call.sid is None:
            return lambda ctx: self._cancel(ctx, job)
        with outside.enter(CARRIER):
            seen, refusal = self._end(outside.carrier, call.sid)
        if seen is None:
            return lambda ctx: self._close(ctx, job, refusal)
        if not refusal or (asked_before and Status(seen.status).final):
            return lambda ctx: self._ended(ctx, job, seen)
        return lambda ctx: self._not_ended(ctx, job, seen, refusal)

    def _end(self, carrier: Carrier, sid: str) -> tuple[Placed | None, str]:
        """The call as the carrier has it now, None where it has none; and why it did not end it, nothing where it did. Raises
        Trouble."""
        try:
            return carrier.end(sid, self.status), ""
        except Denied:
            raise
        except Refused as refusal:
            return carrier.fetch(sid), refusal.reason

    def _open(self, ctx: Context, job: Job[Self]) -> Call:
        """The call, locked. Raises NotFound, Forbidden, PreconditionFailed; and Conflict where it had ended before this job
        first came to it."""
        call = CallBook(ctx).get(job.target or job.id)
        if call.owner_id != job.owner and not ctx.is_admin(job.owner):
            raise Forbidden
        if call.ended_by != job.id:
            precondition.same_version(job, call.version)
            _must_be_open(call)
        return call

    def _cancel(self, ctx: Context, job: Job[Self]) -> Outcome:
        """End a call that the carrier does not know of."""
        book, call = CallBook(ctx), self._open(ctx, job)
        _must_be_open(call)
        if call.sid is not None:  # it has been placed meanwhile
            return Again(ctx.now, counted=False)
        if call.status == Status.DIALING and book.is_in_flight(call):
            return Again(ctx.now + timedelta(seconds=1), counted=False)
        if call.asked_at is None:
            return self._canceled(ctx, call, None)
        if not (ctx.is_admin(job.owner) and self.status == "canceled"):
            raise Conflict("Nobody knows yet whether the call was placed.", code="call_unknown")
        return self._canceled(ctx, call, "Closed by an admin; whether it was placed is not known.")

    def _canceled(self, ctx: Context, call: Call, reason: str | None) -> Outcome:
        call.reason = reason or call.reason
        CallBook(ctx).advance(call, Status.CANCELED)
        return succeeded(call_store.view(ctx.session, call))

    def _close(self, ctx: Context, job: Job[Self], reason: str) -> Outcome:
        """End a call that the carrier knew once and tells nothing of: an admin may, so that its number is free again."""
        call = CallBook(ctx).get(job.target or job.id)
        if ctx.is_admin(job.owner) and self.status == "canceled" and not Status(call.status).final:
            return self._canceled(ctx, call, "Closed by an admin; the carrier tells nothing of it.")
        return rejected(Conflict(reason, code="call_not_ended"))

    def _ended(self, ctx: Context, job: Job[Self], seen: Placed) -> Outcome:
        book = CallBook(ctx)
        call = book.get(job.target or job.id)
        book.hear(call, seen, "worker")
        if self.status == "canceled" and call.status == Status.IN_PROGRESS:
            return rejected(Conflict("The call has been answered; `completed` hangs up.", code="call_answered"))
        return succeeded(call_store.view(ctx.session, call))

    def _not_ended(self, ctx: Context, job: Job[Self], seen: Placed, reason: str) -> Outcome:
        book = CallBook(ctx)
        call = book.get(job.target or job.id)
        book.hear(call, seen, "worker")
        code = "call_final" if Status(call.status).final else "call_not_ended"
        return rejected(Conflict(reason, code=code))


def _must_be_open(call: Call) -> None:
    if Status(call.status).final:
        raise Conflict("The call has ended.", code="call_final")
