"""Leases: this worker's time-limited claims on jobs, taken, renewed, reaped and settled by Lua scripts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid5

from redis import Redis

from config import Settings
from jobs.kernel import effects, keys
from jobs.kernel.failpoints import Point, reach
from jobs.kernel.policy import QUEUES
from jobs.kernel.record import parsed
from jobs.kernel.scripts import script
from jobs.kernel.times import from_micros
from workers.pipeline import Call, Command, Pipeline
from workers.settle import Settlement, changes

MOST_BYTES = 1024 * 1024
"""Of payload in one batch, or one job: what may be long work, like thousands of tasks, comes by few."""

MOST_REAPED = 200
HERE = Path(__file__).parent
NEW = (None, None, None, None, None)
Company = Literal["", "ahead", "shared"]
"""`ahead`: another batch is in hand; suspects are then left. `shared`: nothing is, but more will be taken meanwhile. In
both, a worker's death does not count as one while alone."""


class Delivery(NamedTuple):
    """One leased job as Redis gave it: `data` is RQ's, unread. `crashes`: workers that died with it, alone.
    `canceled_at`: it was canceled then, before any worker had it, and is only to be written down. `cancel`: somebody has asked
    for it to be canceled since a worker first had it.

    `job_id` is its id; for an id that is no UUID, which cannot be ours, one made of it.
    """

    id: str
    job_id: UUID
    queue: str
    token: str
    data: bytes
    owner: UUID | None
    submitted_at: datetime
    moment: datetime
    run_at: datetime | None
    run: int
    attempt: int
    waits: int
    crashes: int
    suspect: bool
    fingerprint: str | None
    started_at: datetime
    canceled_at: datetime | None = None
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A reservation that is under way. `at`: when it was sent, by the monotonic clock; no lease in it is older."""

    token: str
    call: Call
    at: float


class Leases:
    """One worker's view of the queues, for one thread. `name` is its own for good: a name is never used twice."""

    def __init__(self, redis: Redis, settings: Settings, name: str) -> None:
        self._redis = redis
        self._pipeline = Pipeline(redis)
        self._name = name
        self._tokens = (f"{name}:{number}" for number in count())
        self._lease_ms = settings.lease_seconds * 1000
        self._final_ttl = settings.final_ttl_seconds
        self._lag = settings.read_replica_lag_seconds
        self._unheard: set[str] = set()
        self._reserve, self._recover, self._settle, self._heartbeat, self._reap, self._adopt = (
            script(redis, HERE / f"{verb}.lua")
            for verb in ("reserve", "recover", "settle", "heartbeat", "reap", "adopt")
        )

    def reserve(self, queues: Sequence[str], most: int) -> list[Delivery]:
        """Take up to `most` jobs (or MOST_BYTES of them) over the queues in order; none when all are empty.

        What an earlier call took, but could not tell for a lost reply, goes back first.
        """
        self.recover()
        return self.taken(self.ask(queues, most))

    def recover(self) -> None:
        """Hand back what earlier calls took, but could not tell for a lost reply."""
        if self._unheard:
            self._recover(args=[len(self._unheard), *self._unheard, *QUEUES])
            self._unheard.clear()

    def ask(self, queues: Sequence[str], most: int, company: Company = "", *, within: int = 0) -> Asked:
        """Begin to take jobs; `taken` has them. `company`: what else this worker has in hand, or will.

        `within`: seconds to wait until something was pushed to one of the queues. Redis goes on from waiting to
        taking by itself, so that a job is leased in the very moment in which it is queued.
        """
        token, at = next(self._tokens), time.monotonic()
        self._unheard.add(token)
        args = [token, self._lease_ms, most, MOST_BYTES, self._name, company, *queues]
        wait: Command = ("BLPOP", *map(keys.wake, queues), within) if within else ()
        return Asked(token, self._pipeline.call(self._reserve, args, Point.RESERVE_BEGINS, wait), at)

    def taken(self, asked: Asked) -> list[Delivery]:
        """What was asked for."""
        token, started, *rows = asked.call.reply()
        reach(Point.RESERVE_ANSWERED)
        self._unheard.discard(asked.token)
        return _deliveries(token, started, rows)

    def adopt(self, job_id: str) -> Delivery | None:
        """Lease one job that another tool has taken off its queue already; None when it is leased or final."""
        token, started, *rows = self._adopt(args=[next(self._tokens), self._lease_ms, job_id])
        return next(iter(_deliveries(token, started, rows)), None)

    def renew(self, held: Iterable[Delivery]) -> set[str]:
        """Renew leases; returns the ids of those that are this worker's no longer."""
        named = [value for delivery in held for value in (delivery.id, delivery.queue, delivery.token)]
        return {job_id.decode() for job_id in self._heartbeat(args=[self._lease_ms, *named])} if named else set()

    def reap(self) -> int:
        """Put jobs with expired leases back, of every queue; returns how many."""
        return int(self._reap(args=[self._lease_ms, MOST_REAPED, *QUEUES]))

    def settle(self, settlements: Sequence[Settlement]) -> int:
        """Tell the outcomes of jobs whose lease is still this worker's; returns how many were."""
        return self.told(self.tell(settlements))

    def tell(self, settlements: Sequence[Settlement]) -> Call:
        """Begin to settle; `told` hears of it."""
        return self._pipeline.call(self._settle, self._arguments(settlements), Point.SETTLE_BEGINS)

    def told(self, call: Call) -> int:
        """How many leases were still this worker's."""
        settled = int(call.reply())
        reach(Point.SETTLE_ANSWERED)
        return settled

    def _arguments(self, settlements: Sequence[Settlement]) -> list[str | bytes | int]:
        """In reverse: what is handed back goes to the front one by one, and so stands in its old order."""
        arguments: list[str | bytes | int] = [self._name, self._final_ttl]
        arguments += effects.arguments(changes(settlements), self._lag)
        for settlement in reversed(settlements):
            arguments += settlement.arguments()
        return arguments


def _deliveries(token: bytes, started: bytes, rows: Sequence[Sequence[Any]]) -> list[Delivery]:
    if not rows:
        return []
    name, started_at, owners = token.decode(), parsed(started), dict[bytes, UUID]()
    return [_delivery(row, name, started_at, owners) for row in rows]


def _delivery(row: Sequence[Any], token: str, started_at: datetime, owners: dict[bytes, UUID]) -> Delivery:
    """What the script returned. A field that cannot be read makes the job one that cannot: `data` is left out.

    `owners`: those known already, which are few and costly to read.
    """
    state, data, owner, created, fingerprint, attempts, due, run, raw_id, raw_queue, *more = row
    moment, waits, crashes, suspect, cancel = more or NEW
    canceled = state == b"canceled"
    job_id = raw_id.decode()
    uuid, sender = None, owners.get(owner)
    try:
        uuid = UUID(job_id)
        if owner and sender is None:
            sender = owners[owner] = UUID(owner.decode())
        submitted_at = parsed(created) if created else started_at
        due_at = from_micros(int(due)) if due else None
        effective = from_micros(int(moment)) if moment else submitted_at
        counts = _count(run, 1), _count(attempts, 0) + (not canceled), _count(waits, 0), _count(crashes, 0)
        mark = fingerprint.decode() if fingerprint else None
        canceled_at = parsed(cancel) if canceled and cancel else None
    except (ValueError, TypeError, OverflowError, OSError):
        data, submitted_at, due_at, effective, counts, mark = b"", started_at, None, started_at, (1, 1, 0, 0), None
        canceled_at = started_at if canceled else None
    return Delivery(
        job_id,
        uuid or uuid5(NAMESPACE_OID, job_id),
        raw_queue.decode(),
        token,
        data or b"",
        sender,
        submitted_at,
        effective,
        due_at,
        *counts,
        bool(suspect),
        mark,
        started_at,
        canceled_at,
        bool(cancel) and not canceled,
    )


def _count(value: bytes | None, default: int) -> int:
    """A number in a hash; one that cannot be read counts as none."""
    return int(value) if value and value.isdigit() else default
