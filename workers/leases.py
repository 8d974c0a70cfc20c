"""Leases: this worker's time-limited claims on jobs, taken, renewed, reaped and settled by Lua scripts."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from redis import Redis

from config import Settings
from jobs.kernel import keys
from jobs.kernel.failpoints import Point, reach
from jobs.kernel.policy import QUEUES
from jobs.kernel.record import parsed
from jobs.kernel.scripts import script
from jobs.kernel.times import from_micros
from workers.settle import Settlement

MOST_BYTES = 4 * 1024 * 1024
MOST_REAPED = 200
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Delivery:
    """One leased job as Redis gave it: `data` is RQ's, unread. `crashes`: workers that died with it, alone."""

    id: str
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
    fingerprint: str | None
    started_at: datetime

    @property
    def job_id(self) -> UUID:
        """The job's id; for an id that is no UUID, which cannot be ours, one made of it."""
        try:
            return UUID(self.id)
        except ValueError:
            return uuid5(NAMESPACE_OID, self.id)


class Leases:
    """One worker's view of the queues. `name` is its own for good: a name is never used twice."""

    def __init__(self, redis: Redis, settings: Settings, name: str) -> None:
        self._redis = redis
        self._name = name
        self._lease_ms = settings.lease_seconds * 1000
        self._final_ttl = settings.final_ttl_seconds
        self._unheard: set[str] = set()
        self._reserve, self._recover, self._settle, self._heartbeat, self._reap, self._adopt = (
            script(redis, HERE / f"{verb}.lua")
            for verb in ("reserve", "recover", "settle", "heartbeat", "reap", "adopt")
        )

    def reserve(self, queues: Sequence[str], most: int) -> list[Delivery]:
        """Take up to `most` jobs (or 4 MiB of them) over the queues in order; none when all are empty.

        What an earlier call took, but could not tell for a lost reply, goes back first.
        """
        if self._unheard:
            self._recover(args=[len(self._unheard), *self._unheard, *QUEUES])
            self._unheard.clear()
        token = secrets.token_hex(8)
        self._unheard.add(token)
        reach(Point.RESERVE_BEGINS)
        rows = self._reserve(args=[token, self._lease_ms, most, MOST_BYTES, self._name, *queues])
        reach(Point.RESERVE_ANSWERED)
        self._unheard.discard(token)
        return [_delivery(row, token) for row in rows]

    def adopt(self, job_id: str) -> Delivery | None:
        """Lease one job that another tool has taken off its queue already; None when it is leased or final."""
        token = secrets.token_hex(8)
        row = self._adopt(args=[token, self._lease_ms, self._name, job_id])
        return _delivery(row, token) if row else None

    def wait(self, queues: Sequence[str], seconds: int = 1) -> None:
        """Sleep until something was pushed to one of the queues, `seconds` at most."""
        self._redis.blpop([keys.wake(queue) for queue in queues], timeout=seconds)

    def renew(self, held: Iterable[Delivery]) -> set[str]:
        """Renew leases; returns the ids of those that are this worker's no longer."""
        named = [value for delivery in held for value in (delivery.id, delivery.queue, delivery.token)]
        return {job_id.decode() for job_id in self._heartbeat(args=[self._lease_ms, *named])} if named else set()

    def reap(self) -> int:
        """Put jobs with expired leases back, of every queue; returns how many."""
        return int(self._reap(args=[self._lease_ms, MOST_REAPED, *QUEUES]))

    def settle(self, settlements: Sequence[Settlement]) -> int:
        """Tell the outcomes of jobs whose lease is still this worker's; returns how many were.

        In reverse: what is handed back goes to the front one by one, and so stands in its old order.
        """
        arguments = [value for settlement in reversed(settlements) for value in settlement.arguments()]
        if not arguments:
            return 0
        reach(Point.SETTLE_BEGINS)
        settled = int(self._settle(args=[self._name, self._final_ttl, *arguments]))
        reach(Point.SETTLE_ANSWERED)
        return settled


def _delivery(row: Sequence[Any], token: str) -> Delivery:
    """What the script returned. A field that cannot be read makes the job one that cannot: `data` is left out."""
    job_id, queue, data, owner, created, moment, due, run, attempt, waits, crashes, fingerprint, started = row
    started_at = parsed(started)
    told = Delivery(
        id=job_id.decode(),
        queue=queue.decode(),
        token=token,
        data=b"",
        owner=None,
        submitted_at=started_at,
        moment=started_at,
        run_at=None,
        run=run,
        attempt=attempt,
        waits=waits,
        crashes=crashes,
        fingerprint=None,
        started_at=started_at,
    )
    try:
        told = replace(told, owner=UUID(owner.decode()) if owner else None)
        submitted_at = parsed(created) if created else started_at
        return replace(
            told,
            data=data or b"",
            submitted_at=submitted_at,
            moment=from_micros(int(moment)) if moment else submitted_at,
            run_at=from_micros(int(due)) if due else None,
            fingerprint=fingerprint.decode() if fingerprint else None,
        )
    except (ValueError, TypeError, OverflowError, OSError):
        return told
