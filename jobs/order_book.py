"""The order book: decides a set of order commands in order of effective moment, under the timing rule (CONTRACT.md §4).

Who may decide about a scope is settled by row locks, taken in their own statement before anything is looked at: a
check in the locking statement would see a snapshot from before the lock was granted. Scopes are locked in order of
their names, then orders in order of their ids, so that two workers never wait for each other in a circle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from jobs import rules
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Conflict, NotFound, PreconditionFailed, Rejected
from jobs.kernel.outcome import Again, Outcome, rejected, succeeded
from models import views

MOST_WAITS = 8
EVERYWHERE = "*"


class ScopeMovedError(Exception):
    """An order changed its customer while its scope was being locked; decide again."""


@dataclass(slots=True)
class Entry:
    """One order as the book has it: a row of `orders`, and what has become of it."""

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


@dataclass(slots=True)
class OrderBook:
    """The orders a set of jobs is about, and those the timing rule has to look at."""

    ctx: Context
    jobs: Sequence[Job[Any]]
    catalogue: set[str] = field(default_factory=set)
    orders: dict[UUID, Entry] = field(default_factory=dict)
    by_scope: dict[str, dict[UUID, Entry]] = field(default_factory=lambda: defaultdict(dict))

    def decide(self) -> list[Outcome]:
        """One outcome per job, in the order of `jobs`; the changes are written, not committed."""
        self._lock()
        self._read_neighbours()
        self.catalogue = set(self.ctx.session.scalars(text("SELECT code FROM services")))
        outcomes: dict[UUID, Outcome] = {}
        for job in sorted(self.jobs, key=lambda job: (job.moment, job.id)):
            try:
                outcomes[job.id] = self._decide_one(job)
            except Rejected as refusal:
                outcomes[job.id] = rejected(refusal)
        self._write()
        return [outcomes[job.id] for job in self.jobs]

    def _decide_one(self, job: Job[Any]) -> Outcome:
        entry = self._target(job) if job.target else None
        if job.command.kind == "orders.delete" and entry is not None:
            self._remove(entry)
            return succeeded()
        values = job.command.values()
        if unknown := [code for code in values.get("services", ()) if code not in self.catalogue]:
            raise Conflict(f"There is no service {', '.join(unknown)}.", code="unknown_service")
        if "customer_id" in values and values["customer_id"] is None:
            values["customer_id"] = str(entry.owner_id if entry else job.owner)
        owner = entry.owner_id if entry else owner_of(job)
        customer = values.get("customer_id") or (entry.customer_id if entry else str(owner))
        scopes = {self._scope(owner, customer)} | ({self._scope(entry.owner_id, entry.customer_id)} if entry else set())
        if later := self._too_soon(job, scopes):
            return later
        entry = (
            self._amend(entry, job, values) if entry else self._place(job, owner, values | {"customer_id": customer})
        )
        return succeeded(views.order(entry))

    def _target(self, job: Job[Any]) -> Entry:
        entry = self.orders.get(job.target) if job.target else None
        mine = entry is not None and (entry.owner_id == job.owner or self.ctx.is_admin(job.owner))
        if entry is None or entry.deleted or not mine:
            raise NotFound
        if job.if_match is not None:
            if not {"*", views.etag(entry.version)} & set(job.if_match):
                raise PreconditionFailed
        elif job.moment < entry.updated_at:
            raise Conflict("A newer write has changed this order.", code="superseded")
        return entry

    def _too_soon(self, job: Job[Any], scopes: Iterable[str | None]) -> Outcome | None:
        taken = [m for scope in scopes if scope for entry in self.by_scope[scope].values() for m in entry.moments]
        allowed_at = rules.first_free(job.moment, taken, self._window)
        if allowed_at == job.moment:
            return None
        if job.command.if_too_soon == "wait" and job.waits < MOST_WAITS:
            return Again(allowed_at, counted=False, moment=allowed_at)
        wait = (allowed_at - self.ctx.now).total_seconds()
        raise Conflict(
            "Another order in the same scope was created or updated within the window.",
            code="order_too_soon",
            allowed_at=views.instant(allowed_at),
            retry_after=max(1, ceil(wait)),
        )

    def _place(self, job: Job[Any], owner: UUID, values: dict[str, Any]) -> Entry:
        defaults = {"scheduled_for": None, "earlier_updates": None, "version": 1}
        entry = Entry(
            id=job.id, owner_id=owner, created_at=job.moment, updated_at=job.moment, stored=False, **defaults | values
        )
        self._keep(entry)
        return entry

    def _amend(self, entry: Entry, job: Job[Any], values: dict[str, Any]) -> Entry:
        self._forget(entry)
        if entry.updated_at != entry.created_at:
            entry.earlier_updates = [*(entry.earlier_updates or ()), entry.updated_at]
        for name, value in values.items():
            setattr(entry, name, value)
        entry.updated_at = max(job.moment, entry.updated_at)
        entry.version += 1
        entry.changed = True
        self._keep(entry)
        return entry

    def _remove(self, entry: Entry) -> None:
        entry.deleted = True
        self._forget(entry)

    def _keep(self, entry: Entry) -> None:
        self.orders[entry.id] = entry
        if scope := self._scope(entry.owner_id, entry.customer_id):
            self.by_scope[scope][entry.id] = entry

    def _forget(self, entry: Entry) -> None:
        if scope := self._scope(entry.owner_id, entry.customer_id):
            self.by_scope[scope].pop(entry.id, None)

    @property
    def _window(self) -> timedelta:
        return timedelta(seconds=self.ctx.settings.order_window_seconds)

    def _scope(self, owner: UUID, customer: str) -> str | None:
        match self.ctx.settings.order_window_scope:
            case "customer":
                return f"{owner}:{customer}"
            case "global":
                return EVERYWHERE
            case _:
                return None

    def _lock(self) -> None:
        """Lock the scopes of all jobs, then the orders they name, and enter those."""
        targets = sorted({job.target for job in self.jobs if job.target})
        asked = {self._asked_scope(job) for job in self.jobs if not job.target}
        seen = self._read(TARGETS, ids=targets) if targets else []
        scopes = asked | self._scopes_of(seen)
        locked = {scope for scope in scopes if scope}
        if locked:
            self.ctx.session.execute(LOCK_SCOPES, {"scopes": sorted(locked)})
        for entry in self._read(LOCK_TARGETS, ids=targets) if targets else []:
            scope = self._scope(entry.owner_id, entry.customer_id)
            if scope and scope not in locked:
                raise ScopeMovedError(entry.id)
            self._keep(entry)

    def _asked_scope(self, job: Job[Any]) -> str | None:
        owner = owner_of(job)
        return self._scope(owner, getattr(job.command, "customer_id", None) or str(owner))

    def _scopes_of(self, seen: list[Entry]) -> set[str | None]:
        """The scopes that the named orders are in, and those that they are asked to move to."""
        owners = {entry.id: entry.owner_id for entry in seen}
        there = {self._scope(entry.owner_id, entry.customer_id) for entry in seen}
        for job in self.jobs:
            if job.target in owners:
                owner = owners[job.target]
                asked = getattr(job.command, "customer_id", None)
                there |= {self._scope(owner, asked or str(owner))}
        return there

    def _read_neighbours(self) -> None:
        """Enter the orders whose moments could be within the window of any job's."""
        since = min(job.moment for job in self.jobs) - self._window
        scope = self.ctx.settings.order_window_scope
        if scope == "off":
            return
        pairs = self._pairs()
        query = NEIGHBOURS if scope == "customer" else NEIGHBOURS_EVERYWHERE
        for entry in self._read(query, since=since, pairs=orjson.dumps(pairs).decode()):
            self._keep(self.orders.get(entry.id, entry))

    def _pairs(self) -> list[dict[str, str]]:
        pairs = set()
        for job in self.jobs:
            entry = self.orders.get(job.target) if job.target else None
            owner = entry.owner_id if entry else owner_of(job)
            asked = getattr(job.command, "customer_id", None)
            pairs.add((str(owner), asked or str(owner)))
            if entry:
                pairs.add((str(owner), entry.customer_id))
        return [{"owner_id": owner, "customer_id": customer} for owner, customer in pairs]

    def _read(self, query: Any, **values: Any) -> list[Entry]:
        return [Entry(*row) for row in self.ctx.session.execute(query, values)]

    def _write(self) -> None:
        session = self.ctx.session
        entries = self.orders.values()
        if placed := [row(entry) for entry in entries if not entry.stored and not entry.deleted]:
            session.execute(INSERT, {"rows": orjson.dumps(placed).decode()})
        if changed := [row(entry) for entry in entries if entry.stored and entry.changed and not entry.deleted]:
            session.execute(UPDATE, {"rows": orjson.dumps(changed).decode()})
        if deleted := [entry.id for entry in entries if entry.stored and entry.deleted]:
            session.execute(DELETE, {"ids": deleted})


def owner_of(job: Job[Any]) -> UUID:
    """The owner of a job that has to have one."""
    if job.owner is None:
        raise NotFound
    return job.owner


def row(entry: Entry) -> dict[str, Any]:
    """An entry as the JSON that INSERT and UPDATE take."""
    return {name: getattr(entry, name) for name in COLUMNS} | {"total_fee": str(entry.total_fee)}


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
LOCK_SCOPES = text(
    """
    INSERT INTO order_scopes AS known (scope) SELECT unnest(CAST(:scopes AS text[]))
    ON CONFLICT (scope) DO UPDATE SET scope = known.scope
    """
)
TARGETS = text(f"SELECT {NAMES} FROM orders WHERE id = ANY(CAST(:ids AS uuid[]))")
LOCK_TARGETS = text(f"SELECT {NAMES} FROM orders WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE")
NEIGHBOURS = text(
    f"""
    SELECT {NAMES} FROM orders
    JOIN json_to_recordset(CAST(:pairs AS json)) AS asked(owner_id uuid, customer_id text)
    USING (owner_id, customer_id)
    WHERE updated_at >= :since
    """
)
NEIGHBOURS_EVERYWHERE = text(f"SELECT {NAMES} FROM orders WHERE updated_at >= :since AND :pairs IS NOT NULL")
INSERT = text(
    f"INSERT INTO orders ({NAMES}) SELECT {NAMES} FROM json_to_recordset(CAST(:rows AS json)) AS new({TYPED})"
)
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
