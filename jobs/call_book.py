"""The call book: what becomes of a call, by what we have done and what the carrier tells (CONTRACT.md §5).

A call goes forwards only. That the carrier is asked is written down before, and its answer after; where the second is
missing nobody knows whether a telephone rings, and the carrier is never asked to place that call again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from jobs import call_caps
from jobs.call_course import CallCourse
from jobs.kernel.errors import AppError, Cancelled, Conflict, Failed, KeyExpired
from jobs.kernel.failpoints import Point, reach
from jobs.kernel.outcome import Again, Done, Outcome, State, failed, rejected, succeeded
from jobs.kernel.policy import Retry
from jobs.kernel.ports import LeaseLost, Placed
from models import call_store
from models.call import Call, Status

log = structlog.get_logger(__name__)

FIRST_LOOK = timedelta(seconds=3)
"""After an answer was lost: what the carrier has taken, it lists by then."""

BEFORE, AFTER = timedelta(minutes=5), timedelta(minutes=15)
"""How far the carrier's time of a call may lie from ours, of when we asked for it: clocks differ, and it may take its time."""

MARGIN = 10
"""Seconds, beside the time-outs, that a request to the carrier and its answer may take."""

BACK_OFF = Retry(attempts=1_000_000, base=1, cap=60)
SEVERAL = "The carrier has more than one call that this could be; nobody is phoned again."
NOT_PLACED = "The carrier has no such call: its answer was lost, and with it the request."


class CallBook(CallCourse):
    """The calls of one transaction, from being asked for to what is told of their jobs."""

    def open(self, call_id: UUID, owner: UUID, moment: datetime, wanted: dict[str, str]) -> Call:
        """The call of a job, which is entered as requested when it comes for the first time.

        Raises RateLimited; Conflict (`call_in_progress`) while the same user's call to that number is open; and KeyExpired
        where a job of the same key, of which no receipt is left, has made the call."""
        call = call_store.lock(self._session, call_id)
        if call is not None:
            self._insist_on_its_own(call, moment)
            return call
        call_caps.within(self._ctx, owner, wanted["phone_number"])
        entered = {"id": call_id, "owner_id": owner, "created_at": moment, "updated_at": moment}
        added = call_store.add(self._session, **entered, **wanted, status=Status.REQUESTED.value)
        call = call_store.lock(self._session, call_id)
        if call is None:
            raise Conflict("You have a call to this number that has not ended.", code="call_in_progress")
        if not added:  # another execution of the same job has entered it in between
            return call
        call_store.add_event(self._session, call, Status.REQUESTED, moment, "worker", None)
        self._ctx.drop("calls", owner)
        return call

    def dial(self, call_id: UUID) -> Call:
        """Write down that the carrier is about to be asked. Raises RateLimited; Cancelled where that is wanted no more; and
        LeaseLost where another execution of the same job has asked."""
        call = self.get(call_id)
        if Status(call.status).final:
            raise Cancelled
        if call.asked_at is not None or call.sid is not None:
            raise LeaseLost
        call_store.serialize_counts(self._session, call)
        call_caps.within(self._ctx, call.owner_id, call.phone_number)
        call.asked_at = self._ctx.now
        call.asks += 1
        self.advance(call, Status.DIALING)
        return call

    def not_asked(self, call_id: UUID, asks: int) -> Call:
        """Take back that it was asked for the `asks`-th time: it was not, or in vain."""
        call = self.get(call_id)
        if call.asks == asks and call.sid is None and call.status == Status.DIALING:
            call.asked_at = None
        return call

    def wait(self, call_id: UUID, asks: int) -> Outcome:
        """The carrier could not be asked, or wants to be asked later."""
        call = self.not_asked(call_id, asks)
        if self._is_anothers(call, asks):
            return self.outcome(call)
        return Again(self._ctx.now + timedelta(seconds=1 + (BACK_OFF.delay(min(asks, 30)) or 0)), counted=False)

    def taken(self, call_id: UUID, placed: Placed) -> Outcome:
        """The carrier has taken the call."""
        call = self.get(call_id)
        self.bind(call, placed, "worker")
        self._session.flush()
        reach(Point.SID_WRITTEN)
        return self._told(call)

    def refuse(self, call_id: UUID, asks: int, refusal: AppError) -> Outcome:
        """The call is not placed, for good: a rule says no, or the carrier did when it was asked for the `asks`-th time."""
        call = self.get(call_id)
        if self._is_anothers(call, asks):
            return self.outcome(call)
        call.asked_at = None
        call.reason = refusal.detail
        self.advance(call, Status.FAILED)
        return rejected(refusal)

    def lose(self, call_id: UUID) -> Outcome:
        """The carrier was asked, and nobody knows what came of it."""
        call = self.get(call_id)
        if call.sid is not None or Status(call.status).final:
            return self.outcome(call)
        if call.asked_at is None:  # who asked knows by now that it was in vain
            return Again(self._ctx.now, counted=False)
        self.advance(call, Status.UNKNOWN)
        return Again(self._ctx.now + min(FIRST_LOOK, self._between_looks), counted=False)

    def looked(self, call_id: UUID, found: Sequence[Placed]) -> Call:
        """The carrier has listed the calls to the number of one whose answer was lost: it is the one that nobody else's is;
        where twice there was none, it was not placed; and where there are several, people have to look."""
        call = self.get(call_id)
        if call.sid is not None or Status(call.status).final or call.asked_at is None:
            return call
        self.advance(call, Status.UNKNOWN)
        call.looked_at = now = self._ctx.now
        near = [each for each in found if _is_near(each, call.asked_at)]
        taken = call_store.known(self._session, [each.sid for each in near], but=call.id)
        candidates = [each for each in near if each.sid not in taken]
        if not candidates:
            self._miss(call, now)
        elif len(candidates) == 1 and not call_store.rivals(self._session, call, BEFORE + AFTER):
            call.guessed = True
            self.bind(call, candidates[0], "reconciliation")
        elif call.reason != SEVERAL:
            call.reason = SEVERAL
            self.changed(call)
            log.error("call_ambiguous", call_id=str(call.id), sids=[each.sid for each in candidates])
        return call

    def outcome(self, call: Call) -> Outcome:
        """What is to be told of the job that places a call, as the call now is."""
        if call.sid is not None:
            return self._told(call)
        match Status(call.status):
            case Status.CANCELED:
                return Done(State.CANCELED)
            case Status.NOT_PLACED:
                return failed(Failed(NOT_PLACED, code="not_placed"))
            case Status.FAILED:
                return rejected(Conflict(call.reason, code="call_refused"))
        if self.is_given_up(call):
            self.advance(call, Status.UNKNOWN)
            call.reason = call.reason or "The carrier could not be asked what became of it."
            self.changed(call)
            log.error("call_left_unknown", call_id=str(call.id), reason=call.reason)
            return failed(Failed("Nobody knows whether the call was placed.", code="outcome_unknown"))
        return Again(self._ctx.now + self._between_looks, counted=False)

    def is_in_flight(self, call: Call) -> bool:
        """Whether the carrier may just be answering: so long no look at what it has tells anything."""
        seconds = self._settings.twilio_timeout_seconds + self._settings.lease_seconds + MARGIN
        return call.asked_at is not None and self._ctx.now - call.asked_at <= timedelta(seconds=seconds)

    def forget(self, call: Call) -> None:
        """The carrier does not know a call that it had taken. Nobody can hear of it any more, so it ends."""
        if self.is_given_up(call):
            call.reason = "The carrier does not know this call any more."
            self.advance(call, Status.FAILED, "reconciliation")

    def _insist_on_its_own(self, call: Call, moment: datetime) -> None:
        """A job that only Redis had forgotten goes on with its call; as long as it could have a receipt, that is."""
        pruned = self._ctx.now - timedelta(days=self._settings.receipt_retention_days)
        if call.created_at < min(moment, pruned):
            raise KeyExpired

    def _is_anothers(self, call: Call, asks: int) -> bool:
        """Whether it has gone on without the execution that asked for it for the `asks`-th time."""
        asked_again = call.asked_at is not None and call.asks != asks
        return call.sid is not None or Status(call.status).final or asked_again

    def is_given_up(self, call: Call) -> bool:
        """Whether it was asked for so long ago that its job does not wait any longer for what came of it."""
        return call.asked_at is not None and self._ctx.now - call.asked_at > self._seconds("call_give_up_seconds")

    def _miss(self, call: Call, now: datetime) -> None:
        if self.is_in_flight(call):
            return
        if call.missed_at is None:
            call.missed_at = now
        elif now - call.missed_at >= self._seconds("call_settle_seconds"):
            call.reason = NOT_PLACED
            self.advance(call, Status.NOT_PLACED, "reconciliation")

    def _told(self, call: Call) -> Outcome:
        return succeeded(call_store.view(self._session, call))

    @property
    def _between_looks(self) -> timedelta:
        return self._seconds("call_reconcile_seconds")

    def _seconds(self, setting: str) -> timedelta:
        return timedelta(seconds=getattr(self._settings, setting))


def _is_near(placed: Placed, asked_at: datetime) -> bool:
    """Whether a call was made about when we asked for one; one without a time may have been."""
    return placed.created_at is None or asked_at - BEFORE <= placed.created_at <= asked_at + AFTER
