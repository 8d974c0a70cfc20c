"""Events: recorded, and delivered to a sink as well where there is one (CONTRACT.md §7).

An event is recorded as `pending`, and its delivery is a job of its own, whose id follows from the event's. Whatever loses that
job on its way, a sweep finds the event. The sink hears of each at least once, and always under the same id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from time import monotonic
from typing import Annotated, Any, Self
from uuid import UUID

import orjson
import structlog
from pydantic import AfterValidator, Field, StringConstraints

from config import Settings
from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.effects import drops
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Conflict, Failed, Forbidden
from jobs.kernel.outcome import Again, FollowUp, Outcome, failed, rejected, succeeded
from jobs.kernel.policy import Access, Policy, Retry
from jobs.kernel.ports import EVENT_SINK, Conclusion, Outside, Refused, Trouble
from jobs.kernel.private import PRIVATE
from jobs.kernel.submit import keyed_id
from models import event_store, user_store, views
from models.event import Delivery
from models.event_store import Entry, Place
from models.views import ident

log = structlog.get_logger(__name__)

RECORDED = Policy(queue="events", retry=Retry(attempts=5, base=0.5, cap=60), timeout=30)
DELIVERED = Policy(
    queue="deliveries", access=Access.OPERATOR, retry=Retry(attempts=1000, base=0.5, cap=300), timeout=90
)
"""A sink that is away uses up no attempt; one that takes the others and not this, is asked for a day and a half."""

SWEPT = Policy(queue="deliveries", access=Access.OPERATOR, retry=Retry(attempts=1), timeout=60)

MOST_BYTES = 64 * 1024
BEYOND = 2**63
"""Greater numbers cannot be written down as JSON everywhere: what PostgreSQL keeps of 1e300 has 301 digits."""

OUR_OWN = frozenset({"delivery", "delivered_at", "reason"})
"""What is said of an event to clients, and not to the sink."""

PAGE = 500
SWEPT_WITHIN = 20.0
"""Seconds after which one sweep looks no further, and leaves the rest to the next."""


def _storable(details: dict[str, Any]) -> dict[str, Any]:
    if any(not abs(number) < BEYOND for number in _numbers(details)):
        raise ValueError("should hold no number of 2^63 or more")
    if len(orjson.dumps(details)) > MOST_BYTES:
        raise ValueError(f"should be {MOST_BYTES // 1024} KiB of JSON at most")
    return details


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,100}$"),
    Field(description="what happened", examples=["invoice.paid"]),
]
Details = Annotated[
    dict[str, Any],
    AfterValidator(_storable),
    Field(description="whatever there is to say of it; 64 KiB of JSON at most", examples=[{"invoice": "2026-017"}]),
    PRIVATE,
]
About = Annotated[UUID | None, Field(description="whom it is about; you, unless an admin names another user")]


class DeliverEvent(Command, kind="events.deliver", policy=DELIVERED):
    """Deliver an event to the event sink."""

    event: UUID

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        """The sink may be asked more than once, by whoever comes after a worker that died, and knows the event by its id."""
        with outside.transaction() as ctx:
            event = event_store.get(ctx.session, self.event)
        if event is None or event.delivery == Delivery.DELIVERED:
            return lambda ctx: succeeded()
        probe = False
        try:
            with outside.enter(EVENT_SINK, turn=ident(self.event)) as permit:
                probe = permit.probe
                outside.insist()
                outside.sink.deliver(self.event, _body(event))
        except Trouble as trouble:
            told = str(trouble)
            log.warning("event_not_delivered", event_id=ident(self.event), sink=told, attempt=job.attempt)
            return lambda ctx: self._later(ctx, job, probe, told)
        except Refused as refusal:
            reason = refusal.reason
            return lambda ctx: self._fail(ctx, "event_refused", reason)
        return self._delivered

    def withdraw(self, ctx: Context, job: Job[Self]) -> None:
        self._become(ctx, Delivery.FAILED, "Canceled.")

    def _delivered(self, ctx: Context) -> Outcome:
        self._become(ctx, Delivery.DELIVERED)
        return succeeded()

    def _later(self, ctx: Context, job: Job[Self], probe: bool, told: str) -> Outcome:
        """Not yet. What a probe meets is said of the sink, and not of the event: it waits on as all do who wait for the circuit."""
        delay = 0.0 if probe else self.policy.retry.delay(job.attempt)
        if delay is None:
            return self._fail(ctx, "event_undelivered", f"The event sink {told}, the last of {job.attempt} times.")
        self._become(ctx, Delivery.PENDING)
        return Again(ctx.now + timedelta(seconds=delay), counted=not probe)

    def _fail(self, ctx: Context, code: str, reason: str) -> Outcome:
        self._become(ctx, Delivery.FAILED, reason)
        return failed(Failed(reason, code=code))

    def _become(self, ctx: Context, delivery: Delivery, reason: str | None = None) -> None:
        """Note how far the delivery has come, of an event that is there and has not been delivered."""
        event = event_store.lock(ctx.session, self.event)
        if event is None or event.delivery in (delivery, Delivery.DELIVERED):
            return
        event.delivery, event.reason, event.version = delivery, reason, event.version + 1
        event.delivered_at = ctx.now if delivery is Delivery.DELIVERED else None
        ctx.drop("events", event.owner_id)


def _body(event: views.EventRow) -> bytes:
    """The event as it was recorded, the same each time: its version counts what has become of its delivery."""
    shown = views.event(event) | {"version": 1}
    return orjson.dumps({name: value for name, value in shown.items() if name not in OUR_OWN})


class RecordEvent(Command, kind="events.record", route="POST /v1/events", policy=RECORDED, creates=True):
    """Record an event.

    It is yours, unless an admin names another user: `unknown_user` where there is none. Where an event sink is configured, the
    event is delivered there as well, and its `delivery` tells how far that has come.
    """

    name: Name
    details: Details = Field(default_factory=dict)
    user_id: About = None

    def admits(self, role: str | None, sender: UUID | None) -> bool:
        return super().admits(role, sender) and (role == "admin" or self.user_id in (None, sender))

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        """Whoever is named beside the senders is looked for together."""
        named = {job.command.user_id for job in jobs} - {None, *(job.owner for job in jobs)}
        there = user_store.there(ctx.session, named) | {job.owner for job in jobs}
        entries = {job.id: job.command.entry(ctx.settings, job) for job in jobs}
        known = {event: entry for event, entry in entries.items() if entry.owner_id in there}
        event_store.add_all(ctx.session, list(known.values()))
        return [_recorded(ctx.settings, job, known.get(job.id)) for job in jobs]

    def entry(self, settings: Settings, job: Job[Self]) -> Entry:
        """The event that a job records."""
        if (owner := self.user_id or job.owner) is None:
            raise Forbidden
        delivery = Delivery.PENDING if settings.event_sink_url else Delivery.NONE
        return Entry(job.id, owner, self.name, self.details, delivery.value, job.moment)


def _recorded(settings: Settings, job: Job[Any], event: Entry | None) -> Outcome:
    if event is None:
        return rejected(Conflict("There is no such user.", code="unknown_user"))
    effects = drops("events", [event.owner_id]) if event.owner_id != job.owner else None
    follow_ups = [_delivery(settings, event.id)] if event.delivery == Delivery.PENDING else []
    return succeeded(views.event(event), effects=effects, follow_ups=follow_ups)


def _delivery(settings: Settings, event_id: UUID) -> FollowUp:
    """The one job that delivers an event."""
    return FollowUp(keyed_id(settings.secret_key, event_id, DeliverEvent.kind), DeliverEvent(event=event_id))


class SweepEvents(Command, kind="events.sweep", policy=SWEPT, every="event_sweep_seconds"):
    """Send events to be delivered again whose delivery was lost on its way to the queue, or with all that Redis knew."""

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        if not outside.settings.event_sink_url:
            return lambda ctx: succeeded()
        lost = {event: delivery for page in self._lost(outside) for event, delivery in page.items()}
        return lambda ctx: _sent_again(ctx, lost)

    def _lost(self, outside: Outside) -> Iterator[dict[UUID, FollowUp]]:
        """Events that are pending for longer than a sweep, and whose delivery nobody has in hand; oldest first, by pages."""
        began, last = monotonic(), None
        while monotonic() - began < SWEPT_WITHIN and (page := self._page(outside, last)):
            deliveries = {event_id: _delivery(outside.settings, event_id) for _, event_id in page}
            known = outside.known([delivery.id for delivery in deliveries.values()])
            yield {event: delivery for event, delivery in deliveries.items() if delivery.id not in known}
            last = page[-1]

    def _page(self, outside: Outside, after: Place | None) -> list[Place]:
        with outside.transaction() as ctx:
            before = ctx.now - timedelta(seconds=ctx.settings.event_sweep_seconds)
            return event_store.pending(ctx.session, before, after, PAGE)


def _sent_again(ctx: Context, lost: dict[UUID, FollowUp]) -> Outcome:
    """Deliveries that have come to an end without telling the event are not tried again: those who carried them out may have
    died of it."""
    ended = event_store.ended(ctx.session, [delivery.id for delivery in lost.values()])
    over = {event: ended[delivery.id] for event, delivery in lost.items() if delivery.id in ended}
    for owner in event_store.give_up(ctx.session, over):
        ctx.drop("events", owner)
    follow_ups = [delivery for event, delivery in lost.items() if event not in over]
    if lost:
        log.warning("deliveries_lost", sent_again=len(follow_ups), given_up=len(over))
    return succeeded({"sent_again": len(follow_ups), "given_up": len(over)}, follow_ups=follow_ups)
