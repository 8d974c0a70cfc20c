"""How what is remembered looks from outside: one function per resource, for reads and for results alike.

JSON conventions of CONTRACT.md §1: times RFC 3339 in UTC with `Z`, money a decimal string, ids as strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from models.call import Status
from models.task import PRIORITIES

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def ident(value: UUID) -> str:
    """An id in its usual spelling. Remembers the last ones: each is spelled several times on its way."""
    return _spelled(value.int)


def spelled_id(text: str) -> UUID | None:
    """The id that is spelled so; None for what is no UUID in its usual spelling, in either case."""
    return UUID(text) if ID.fullmatch(text) else None


@lru_cache(maxsize=16_384)
def _spelled(number: int) -> str:
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@lru_cache(maxsize=1024)
def instant(value: datetime | None) -> str | None:
    """RFC 3339 in UTC, microseconds always, ending in `Z`. Remembers the last ones: in a batch the same come often."""
    if value is None:
        return None
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(timespec="microseconds")[:-6] + "Z"


class OrderRow(Protocol):
    """What an order needs to have to be shown."""

    id: UUID
    owner_id: UUID
    customer_id: str
    services: list[str]
    total_fee: Any
    scheduled_for: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


def order(row: OrderRow) -> dict[str, Any]:
    """An order as `GET /v1/orders/{id}` shows it."""
    return {
        "id": ident(row.id),
        "user_id": ident(row.owner_id),
        "customer_id": row.customer_id,
        "services": list(row.services),
        "total_fee": f"{row.total_fee:.2f}",
        "scheduled_for": instant(row.scheduled_for),
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
        "version": row.version,
    }


class UserRow(Protocol):
    """What a user needs to have to be shown."""

    id: UUID
    email: str
    name: str
    role: str
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None
    version: int


def user(row: UserRow) -> dict[str, Any]:
    """A user as `GET /v1/users/{id}` shows them."""
    return {
        "id": ident(row.id),
        "email": row.email,
        "name": row.name,
        "role": row.role,
        "disabled": row.disabled_at is not None,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
        "version": row.version,
    }


class CallRow(Protocol):
    """What a call needs to have to be shown."""

    id: UUID
    owner_id: UUID
    phone_number: str
    customer_name: str
    workflow: str
    status: str
    sid: str | None
    reason: str | None
    duration: int | None
    answered_by: str | None
    created_at: datetime
    updated_at: datetime
    version: int


def call(row: CallRow) -> dict[str, Any]:
    """A call as `GET /v1/calls` lists it."""
    return {
        "id": ident(row.id),
        "user_id": ident(row.owner_id),
        "phone_number": row.phone_number,
        "customer_name": row.customer_name,
        "workflow": row.workflow,
        "status": row.status,
        "sid": row.sid,
        "reason": row.reason,
        "duration": row.duration,
        "answered_by": row.answered_by,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
        "version": row.version,
    }


def call_with_timeline(row: CallRow, events: Iterable[CallEventRow]) -> dict[str, Any]:
    """A call as `GET /v1/calls/{id}` shows it: with every status it has had, in the order of a call's life."""
    ordered = sorted(events, key=lambda event: Status(event.status).rank)
    timeline = [{"status": event.status, "at": instant(event.at), "source": event.source} for event in ordered]
    return call(row) | {"timeline": timeline}


class CallEventRow(Protocol):
    """What an event of a call needs to have to be shown."""

    status: str
    at: datetime
    source: str


class TaskRow(Protocol):
    """What a task needs to have to be shown."""

    id: UUID
    owner_id: UUID
    title: str
    description: str | None
    status: str
    priority: int
    due_date: datetime | None
    overdue_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


def task(row: TaskRow) -> dict[str, Any]:
    """A task as `GET /v1/tasks/{id}` shows it."""
    return {
        "id": ident(row.id),
        "user_id": ident(row.owner_id),
        "title": row.title,
        "description": row.description,
        "status": row.status,
        "priority": PRIORITIES[row.priority],
        "due_date": instant(row.due_date),
        "overdue_at": instant(row.overdue_at),
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
        "version": row.version,
    }


class EventRow(Protocol):
    """What an event needs to have to be shown."""

    id: UUID
    owner_id: UUID
    name: str
    details: dict[str, Any]
    delivery: str
    delivered_at: datetime | None
    reason: str | None
    created_at: datetime
    version: int


def event(row: EventRow) -> dict[str, Any]:
    """An event as `GET /v1/events/{id}` shows it."""
    return {
        "id": ident(row.id),
        "user_id": ident(row.owner_id),
        "name": row.name,
        "details": row.details,
        "delivery": row.delivery,
        "delivered_at": instant(row.delivered_at),
        "reason": row.reason,
        "created_at": instant(row.created_at),
        "version": row.version,
    }


class ServiceRow(Protocol):
    """What an entry of the catalogue needs to have to be shown."""

    @property
    def code(self) -> str: ...
    @property
    def name(self) -> str: ...


def service(row: ServiceRow) -> dict[str, Any]:
    """An entry of the catalogue as `GET /v1/services` shows it."""
    return {"code": row.code, "name": row.name}


def etag(version: int) -> str:
    """The entity tag of a resource that counts its versions, without quotes (RFC 9110 §8.8.3)."""
    return f"v{version}"
