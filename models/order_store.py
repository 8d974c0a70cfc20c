"""Orders in sets: locked, read and written in set-based SQL, for the workers that decide about them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from models.sets import FEW, add, array, fetch, prepared
from models.views import ident, instant


@dataclass(slots=True)
class Entry:
    """One order as a worker has it in hand: a row of `orders`, and what has become of it."""

    id: UUID
    owner_id: UUID
    customer_id: str
    services: list[str]
    total_fee: Decimal
    scheduled_for: datetime | None
    created_at: datetime
    updated_at: datetime
    earlier_updates: list[datetime] | None
    version: int
    stored: bool = True
    changed: bool = False
    deleted: bool = False

    @property
    def moments(self) -> list[datetime]:
        """Every moment at which it was created or updated."""
        return [self.created_at, *(self.earlier_updates or ()), self.updated_at]

    def row(self) -> dict[str, Any]:
        """The columns, as JSON that UPDATE takes."""
        return {name: getattr(self, name) for name in COLUMNS} | {"total_fee": str(self.total_fee)}

    def line(self) -> tuple[str | None, ...]:
        """The columns, as text."""
        return (
            ident(self.id),
            ident(self.owner_id),
            self.customer_id,
            array(self.services),
            str(self.total_fee),
            instant(self.scheduled_for),
            instant(self.created_at),
            instant(self.updated_at),
            array([str(moment) for moment in self.earlier_updates]) if self.earlier_updates else None,
            str(self.version),
        )


def find(session: Session, ids: Collection[UUID], *, lock: bool) -> list[Entry]:
    """The orders of these ids that there are; locked, in order of their ids, where that is asked for."""
    return _read(session, FIND_AND_LOCK if lock else FIND, ids=[ident(order_id) for order_id in ids]) if ids else []


def lock_customers(
    session: Session, scopes: Collection[str], pairs: Iterable[tuple[UUID, str]], since: datetime
) -> list[Entry]:
    """Lock scopes of the timing rule until the transaction ends, in order of their names; then read the orders of
    these (owner, customer) that were changed at `since` or later."""
    asked = [(ident(owner), customer) for owner, customer in pairs]
    if len(asked) <= FEW:
        return _locked(session, scopes, OF_FEW_CUSTOMERS, since=since, pairs=tuple(asked))
    rows = orjson.dumps([{"owner_id": owner, "customer_id": customer} for owner, customer in asked]).decode()
    return _locked(session, scopes, OF_CUSTOMERS, since=since, pairs=rows)


def lock_everybody(session: Session, scope: str, since: datetime) -> list[Entry]:
    """Lock a scope until the transaction ends; then read all orders that were changed at `since` or later."""
    return _locked(session, [scope], OF_EVERYBODY, since=since)


def write(session: Session, entries: Collection[Entry]) -> None:
    """Bring the table to what the entries say."""
    ordered = sorted(entries, key=lambda entry: entry.id.int)
    placed = [entry.line() for entry in ordered if not entry.stored and not entry.deleted]
    changed = [entry.row() for entry in ordered if entry.stored and entry.changed and not entry.deleted]
    deleted = [entry.id for entry in ordered if entry.stored and entry.deleted]
    if placed:
        add(session, "orders", COLUMNS, placed)
    if changed:
        session.execute(UPDATE, {"rows": orjson.dumps(changed).decode()})
    if deleted:
        session.execute(DELETE, {"ids": deleted})


def _locked(session: Session, scopes: Collection[str], query: str, **values: object) -> list[Entry]:
    """Both in one message; the query is a statement of its own, with a snapshot from after the locks were granted."""
    locking = f"{prepared(session, LOCK_SCOPES)} (%(scopes)s);"
    return _read(session, locking + query, scopes=array(sorted(scopes)), **values)


def _read(session: Session, query: str, **values: object) -> list[Entry]:
    return [Entry(*row) for row in fetch(session, query, **values)]


COLUMNS = (
    "id",
    "owner_id",
    "customer_id",
    "services",
    "total_fee",
    "scheduled_for",
    "created_at",
    "updated_at",
    "earlier_updates",
    "version",
)
NAMES = ", ".join(COLUMNS)
TYPED = (
    "id uuid, owner_id uuid, customer_id text, services text[], total_fee numeric, scheduled_for timestamptz, "
    "created_at timestamptz, updated_at timestamptz, earlier_updates timestamptz[], version int"
)

# DO UPDATE, not DO NOTHING: it locks the row whether it was there or not, in the order of the sub-query.
LOCK_SCOPES = """
    INSERT INTO order_scopes AS known (scope) SELECT unnest(CAST($1 AS text[]))
    ON CONFLICT (scope) DO UPDATE SET scope = known.scope
    """
FIND = f"SELECT {NAMES} FROM orders WHERE id = ANY(CAST(%(ids)s AS uuid[]))"
FIND_AND_LOCK = f"{FIND} ORDER BY id FOR UPDATE"
OF_CUSTOMERS = f"""
    SELECT {NAMES} FROM orders
    JOIN json_to_recordset(CAST(%(pairs)s AS json)) AS asked(owner_id uuid, customer_id text)
    USING (owner_id, customer_id)
    WHERE updated_at >= %(since)s
    """
OF_FEW_CUSTOMERS = f"SELECT {NAMES} FROM orders WHERE (owner_id, customer_id) IN %(pairs)s AND updated_at >= %(since)s"
OF_EVERYBODY = f"SELECT {NAMES} FROM orders WHERE updated_at >= %(since)s"
UPDATE = text(
    f"""
    UPDATE orders SET
        customer_id = new.customer_id, services = new.services, total_fee = new.total_fee,
        scheduled_for = new.scheduled_for, updated_at = new.updated_at, earlier_updates = new.earlier_updates,
        version = new.version
    FROM json_to_recordset(CAST(:rows AS json)) AS new({TYPED})
    WHERE orders.id = new.id
    """
)
DELETE = text("DELETE FROM orders WHERE id = ANY(CAST(:ids AS uuid[]))")
