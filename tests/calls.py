"""Calls in tests: what is asked for, and what becomes of it, by the real executor and the carrier simulator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from jobs.call_book import CallBook
from jobs.kernel.context import Context
from jobs.kernel.errors import Snooze
from jobs.kernel.outcome import State
from jobs.kernel.ports import CARRIER
from local.carrier import Faults
from tests.road import Road
from workers.conductor import Conductor
from workers.leases import Delivery
from workers.outside import Services
from workers.work import opened

Execute = Callable[..., list[tuple[Any, ...]]]

ANSWERED, BUSY, LOST, BUSY_TWICE, MUTE, FAILED_AFTER, NEVER_TAKEN, REFUSED = (
    f"+1415555{digits}" for digits in ("0199", "0101", "0104", "0105", "0106", "0107", "0108", "0109")
)
INVALID = "+15005550001"
SILENT = Faults(mute=1)
"""Callbacks would go to an address where nobody listens."""


def place(phone: Road, number: str = ANSWERED, **more: Any) -> UUID:
    body = {"phone_number": number, "customer_name": "Ada", "workflow": "support"}
    return phone.submit("calls.place", body, **more)


def placed(phone: Road, number: str = ANSWERED, **more: Any) -> UUID:
    """A call that the carrier has taken."""
    call_id = place(phone, number, **more)
    phone.work()
    assert phone.status(call_id) is State.SUCCEEDED, phone.job(call_id)
    return call_id


def call(phone: Road, call_id: UUID) -> Any:
    (row,) = phone.rows(f"SELECT * FROM calls WHERE id = '{call_id}'")
    return row


def timeline(phone: Road, call_id: UUID) -> list[str]:
    rows = phone.rows(f"SELECT status FROM call_events WHERE call_id = '{call_id}'")
    order = ["requested", "dialing", "unknown", "queued", "initiated", "ringing", "in_progress"]
    return sorted((row.status for row in rows), key=lambda status: order.index(status) if status in order else 99)


def again(phone: Road, call_id: UUID) -> None:
    """Let the time come for which a job was put off, and do it."""
    phone.make_due(call_id)
    phone.work()


def asked_ago(execute: Execute, call_id: UUID, seconds: float) -> None:
    """Let a call have been asked for so long ago."""
    execute("UPDATE calls SET asked_at = now() - make_interval(secs => %s) WHERE id = %s::uuid", seconds, str(call_id))


def told(phone: Road, sid: str, status: str, sequence: int | None = None, **more: Any) -> UUID:
    """A callback of the carrier's, recorded."""
    body = {"sid": sid, "status": status, "sequence": sequence} | more
    return phone.submit("calls.record_status", {k: v for k, v in body.items() if v is not None}, owner=None)


def waiting(phone: Road, number: str = ANSWERED) -> UUID:
    """A call that waits here for its turn."""
    gates, phone.gates = phone.gates, {CARRIER: Shut()}
    call_id = place(phone, number)
    phone.work()
    phone.gates = gates
    assert (phone.status(call_id), call(phone, call_id).status) == (State.SCHEDULED, "requested")
    return call_id


class Shut:
    """A gate that lets nobody pass for an hour."""

    def enter(self, *, turn: str | None = None) -> Any:
        raise Snooze(datetime.now(UTC) + timedelta(hours=1))


def ended(phone: Road, call_id: UUID, how: str = "canceled", **more: Any) -> UUID:
    return phone.submit("calls.cancel", {"status": how}, target=call_id, **more)


def done(phone: Road, call_id: UUID) -> None:
    """Let a call end."""
    told(phone, call(phone, call_id).sid, "completed", 3)
    phone.work()


def reconcile(phone: Road) -> None:
    phone.submit("calls.reconcile", owner=None)
    phone.work()


def silent(execute: Execute) -> None:
    """Let two minutes go by without a word."""
    execute(
        "UPDATE calls SET updated_at = updated_at - interval '5 minutes', looked_at = looked_at - interval '5 minutes',"
        " asked_at = asked_at - interval '5 minutes'"
    )


def book(session: Any, phone: Road) -> CallBook:
    """The call book of somebody else's transaction."""
    return CallBook(Context(session, phone.settings, datetime.now(UTC), {}))


def between(phone: Road, delivery: Delivery, happens: Callable[[CallBook], object]) -> None:
    """Carry a job out, and let something happen, and commit, before its last transaction."""
    conductor = Conductor(phone.sessions, phone.settings, Services(phone.carrier, phone.gates))
    run = conductor._executor.run

    def late(*arguments: Any) -> Any:
        with phone.sessions.begin() as session:
            happens(book(session, phone))
        return run(*arguments)

    conductor._executor.run = late  # type: ignore[method-assign]
    phone.leases.settle(conductor.run(opened(delivery), lambda: True))
