"""The order book: decides a set of order commands in order of effective moment, under the timing rule (CONTRACT.md §4).

Who may decide about a scope is settled by row locks, taken in their own statement before anything is looked at: a
check in the locking statement would see a snapshot from before the lock was granted. Scopes are locked in order of
their names, then orders in order of their ids, so that two workers never wait for each other in a circle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from operator import itemgetter
from typing import Any, Literal
from uuid import UUID

from jobs import precondition, rules
from jobs.kernel.context import Context
from jobs.kernel.effects import Effects, drops
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Conflict, Forbidden, NotFound, Rejected
from jobs.kernel.outcome import Again, Outcome, rejected, succeeded
from models import catalogue, order_store, views
from models.order_store import Entry
from models.views import ident

MOST_WAITS = 8
EVERYWHERE = "*"

Scope = str
"""What the timing rule looks at together, by the name of the row that locks it: an owner's customer, or everything."""


class ScopeMovedError(Exception):
    """An order changed its customer while its scope was being locked; decide again."""


@dataclass(slots=True)
class OrderBook:
    """The orders a set of jobs is about, and those the timing rule has to look at."""

    ctx: Context
    jobs: Sequence[Job[Any]]
    catalogue: frozenset[str] = frozenset()
    orders: dict[UUID, Entry] = field(default_factory=dict)
    by_scope: dict[Scope, dict[UUID, Entry]] = field(default_factory=lambda: defaultdict(dict))
    window: timedelta = field(init=False)
    scope: Literal["customer", "global", "off"] = field(init=False)

    def __post_init__(self) -> None:
        settings = self.ctx.settings
        self.window, self.scope = timedelta(seconds=settings.order_window_seconds), settings.order_window_scope

    def decide(self) -> list[Outcome]:
        """One outcome per job, in the order of `jobs`; the changes are written, not committed."""
        self._lock()
        self.catalogue = catalogue.codes(self.ctx.session)
        outcomes: list[tuple[int, Outcome]] = []
        for place, job in sorted(enumerate(self.jobs), key=lambda each: (each[1].moment, each[1].id.int)):
            try:
                outcomes.append((place, self._decide_one(job)))
            except Rejected as refusal:
                outcomes.append((place, rejected(refusal)))
        order_store.write(self.ctx.session, self.orders.values())
        return [outcome for _, outcome in sorted(outcomes, key=itemgetter(0))]

    def _decide_one(self, job: Job[Any]) -> Outcome:
        values = job.command.values()
        entry = self._target(job, deleting=values is None) if job.target else None
        if values is None:
            return self._remove(entry, job)
        if unknown := self._unknown(values.get("services", ())):
            raise Conflict(f"There is no service {', '.join(unknown)}.", code="unknown_service")
        if "customer_id" in values and values["customer_id"] is None:
            values["customer_id"] = str(entry.owner_id if entry else job.owner)
        owner = entry.owner_id if entry else owner_of(job)
        customer = values.get("customer_id") or (entry.customer_id if entry else str(owner))
        scopes = {self._scope(owner, customer)}
        if entry:
            scopes.add(self._scope(entry.owner_id, entry.customer_id))
        if later := self._too_soon(job, scopes):
            return later
        entry = self._amend(entry, job, values) if entry else self._place(job, owner, customer, values)
        return succeeded(views.order(entry), effects=_seen_by(entry, job))

    def _unknown(self, codes: Iterable[str]) -> list[str]:
        """Those codes that the catalogue has not; it is read anew before anything is refused."""
        if missing := [code for code in codes if code not in self.catalogue]:
            self.catalogue = catalogue.codes(self.ctx.session, anew=True)
            missing = [code for code in missing if code not in self.catalogue]
        return missing

    def _target(self, job: Job[Any], *, deleting: bool) -> Entry:
        """Raises Forbidden for a foreign one: only somebody who was an admin then can have named it."""
        entry = self.orders.get(job.target) if job.target else None
        if entry is None or entry.deleted:
            raise NotFound
        if entry.owner_id != job.owner and not self.ctx.is_admin(job.owner):
            raise Forbidden
        precondition.same_version(job, entry.version)
        if not deleting:
            precondition.not_superseded(job, entry.updated_at)
        return entry

    def _too_soon(self, job: Job[Any], scopes: Iterable[Scope | None]) -> Outcome | None:
        taken = [m for scope in scopes if scope for entry in self.by_scope[scope].values() for m in entry.moments]
        allowed_at = rules.first_free(job.moment, taken, self.window)
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

    def _place(self, job: Job[Any], owner: UUID, customer: str, values: dict[str, Any]) -> Entry:
        entry = Entry(
            id=job.id,
            owner_id=owner,
            customer_id=customer,
            services=values["services"],
            total_fee=values["total_fee"],
            scheduled_for=values["scheduled_for"],
            created_at=job.moment,
            updated_at=job.moment,
            earlier_updates=None,
            version=1,
            stored=False,
        )
        self._keep(entry)
        return entry

    def _amend(self, entry: Entry, job: Job[Any], values: dict[str, Any]) -> Entry:
        self._forget(entry)
        earlier, latest = sorted((job.moment, entry.updated_at))
        if earlier != entry.created_at:
            entry.earlier_updates = [*(entry.earlier_updates or ()), earlier]
        for name, value in values.items():
            setattr(entry, name, value)
        entry.updated_at = latest
        entry.version += 1
        entry.changed = True
        self._keep(entry)
        return entry

    def _remove(self, entry: Entry | None, job: Job[Any]) -> Outcome:
        if entry is None:
            raise NotFound
        entry.deleted = True
        self._forget(entry)
        return succeeded(effects=_seen_by(entry, job))

    def _keep(self, entry: Entry) -> None:
        self.orders[entry.id] = entry
        if scope := self._scope(entry.owner_id, entry.customer_id):
            self.by_scope[scope][entry.id] = entry

    def _forget(self, entry: Entry) -> None:
        if scope := self._scope(entry.owner_id, entry.customer_id):
            self.by_scope[scope].pop(entry.id, None)

    def _scope(self, owner: UUID, customer: str) -> Scope | None:
        match self.scope:
            case "customer":
                return f"{ident(owner)}:{customer}"
            case "global":
                return EVERYWHERE
            case _:
                return None

    def _lock(self) -> None:
        """Lock the scopes of all jobs, and enter the orders whose moments could be within the window of any job's;
        then lock the orders that the jobs name, and enter those."""
        session, since = self.ctx.session, min(job.moment for job in self.jobs) - self.window
        targets = {job.target for job in self.jobs if job.target}
        seen = {entry.id: entry for entry in order_store.find(session, targets, lock=False)}
        pairs = self._pairs(seen)
        locked = {scope for pair in pairs if (scope := self._scope(*pair))}
        match self.scope:
            case "customer":
                near = order_store.lock_customers(session, locked, pairs, since)
            case "global":
                near = order_store.lock_everybody(session, EVERYWHERE, since)
            case _:
                near = []
        targeted = order_store.find(session, targets, lock=True)
        for entry in targeted:
            scope = self._scope(entry.owner_id, entry.customer_id)
            if scope and scope not in locked:
                raise ScopeMovedError(entry.id)
        own = {entry.id for entry in targeted}
        for entry in (*targeted, *(entry for entry in near if entry.id not in own)):
            self._keep(entry)

    def _pairs(self, known: Mapping[UUID, Entry]) -> set[tuple[UUID, str]]:
        """The (owner, customer) that the jobs are about: where an order is, and where it is asked to be."""
        pairs = set()
        for job in self.jobs:
            entry = known.get(job.target) if job.target else None
            owner = entry.owner_id if entry else owner_of(job)
            pairs.add((owner, getattr(job.command, "customer_id", None) or str(owner)))
            if entry:
                pairs.add((owner, entry.customer_id))
        return pairs


def _seen_by(entry: Entry, job: Job[Any]) -> Effects | None:
    """Who sees the order another than before, where it is not who sent the job."""
    return drops("orders", [entry.owner_id]) if entry.owner_id != job.owner else None


def owner_of(job: Job[Any]) -> UUID:
    """The owner of a job that has to have one."""
    if job.owner is None:
        raise NotFound
    return job.owner
