"""Events as workers add them, in sets, and follow what becomes of their delivery."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from models.event import Delivery, Event
from models.sets import add, array, fetch
from models.views import ident, instant

COLUMNS = ("id", "owner_id", "name", "details", "delivery", "created_at")
ENDED = """
    SELECT id::text, coalesce(error->>'detail', 'Its delivery was ' || state || '.')
    FROM receipts WHERE id = ANY(CAST(%(ids)s AS uuid[]))
    """
GIVE_UP = """
    UPDATE events SET delivery = 'failed', reason = given.reason, version = version + 1
    FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(reasons)s AS text[])) AS given(id, reason)
    WHERE events.id = given.id AND delivery = 'pending'
    RETURNING owner_id::text
    """


@dataclass(slots=True)
class Entry:
    """A new event; nobody has tried to deliver it yet."""

    id: UUID
    owner_id: UUID
    name: str
    details: dict[str, Any]
    delivery: str
    created_at: datetime
    delivered_at: datetime | None = None
    reason: str | None = None
    version: int = 1

    def line(self) -> tuple[str | None, ...]:
        """The columns, as text."""
        details, created_at = orjson.dumps(self.details).decode(), instant(self.created_at)
        return ident(self.id), ident(self.owner_id), self.name, details, self.delivery, created_at


def add_all(session: Session, entries: Sequence[Entry]) -> None:
    """Add new events."""
    if entries:
        add(session, "events", COLUMNS, [entry.line() for entry in entries])


def get(session: Session, event_id: UUID) -> Event | None:
    return session.get(Event, event_id)


def lock(session: Session, event_id: UUID) -> Event | None:
    """The event, locked until the transaction ends; as it is now, whatever this session has seen of it before."""
    return session.get(Event, event_id, with_for_update=True, populate_existing=True)


Place = tuple[datetime, UUID]
"""Of an event among those that are pending: when it was recorded, and its id."""


def pending(session: Session, before: datetime, after: Place | None, most: int) -> list[Place]:
    """Events still to be delivered that were recorded before a time, oldest first, from behind a place on."""
    place = tuple_(Event.recorded_at, Event.id)
    wanted = select(Event.recorded_at, Event.id).where(Event.delivery == Delivery.PENDING, Event.recorded_at < before)
    if after is not None:
        wanted = wanted.where(place > tuple_(*after))
    return [(at, event_id) for at, event_id in session.execute(wanted.order_by(*place).limit(most))]


def ended(session: Session, jobs: Collection[UUID]) -> dict[UUID, str]:
    """Of these jobs, those that have come to an end, each with a sentence that says why."""
    found = fetch(session, ENDED, ids=[ident(job) for job in jobs]) if jobs else []
    return {UUID(job): why for job, why in found}


def give_up(session: Session, reasons: Mapping[UUID, str]) -> set[UUID]:
    """Mark those of these events as failed that are pending still; their owners."""
    if not reasons:
        return set()
    ids, why = [ident(event) for event in reasons], array(list(reasons.values()))
    return {UUID(owner) for (owner,) in fetch(session, GIVE_UP, ids=ids, reasons=why)}
