"""The ledger: what is known of a job, from its receipt where there is one, else from Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from redis import Redis
from rq.utils import as_text
from sqlalchemy import ARRAY, Select, Text, Uuid, any_, bindparam, null, select, tuple_
from sqlalchemy import cast as as_type

from jobs.kernel import broker, keys
from jobs.kernel.errors import QueueDown
from jobs.kernel.outcome import State
from jobs.kernel.record import FIELDS, JobRecord, Values, from_hash, from_receipt
from jobs.kernel.scripts import script
from jobs.kernel.telling import Telling
from jobs.kernel.times import micros
from models import Receipt
from models.session import DATABASE_ERRORS, Sessions
from models.views import ident


class Ledger:
    """Reads jobs. A receipt wins over Redis, unless the job has been sent on a later run. It writes nothing but what an
    outcome changes in Redis, before it tells that outcome: the worker may not have come to it yet, or died."""

    def __init__(self, redis: Redis, sessions: Sessions, telling: Telling | None = None) -> None:
        self._redis = redis
        self._sessions = sessions
        self._telling = telling or Telling(redis)
        self._watch = script(redis, Path(__file__).with_name("watch.lua"))

    def find(self, job_id: UUID) -> JobRecord | None:
        """The job as it now is, or None. Raises QueueDown when only Redis could know and it does not answer,
        one of DATABASE_ERRORS when only PostgreSQL could."""
        try:
            live = self._hash(job_id)
        except broker.LOST as lost:
            return self._or_raise(job_id, lost)
        try:
            return self._newest(job_id, live)
        except DATABASE_ERRORS:
            if live is None or live.perhaps_final:
                raise
            return live

    def decided(self, job_id: UUID) -> JobRecord | None:
        """The same, for whoever is about to change what becomes of the job: a receipt is looked for, whatever Redis says.
        Raises QueueDown, or one of DATABASE_ERRORS."""
        try:
            live = self._hash(job_id)
        except broker.LOST as lost:
            return self._or_raise(job_id, lost)
        return self._newest(job_id, live)

    def live(self, ids: Iterable[UUID]) -> dict[UUID, JobRecord]:
        """What Redis has of these jobs, by their ids. Raises QueueDown."""
        try:
            return {job.id: job for job in self._live_records(list(ids))}
        except broker.LOST as lost:
            raise QueueDown from lost

    def find_many(self, ids: Sequence[UUID]) -> dict[UUID, JobRecord | None]:
        """Those jobs that are there, as they now are, by their ids and without results; None for one that only PostgreSQL could
        tell of, which does not answer. Raises QueueDown where Redis does not."""
        try:
            live = {job.id: job for job in self._live_records(ids)}
        except broker.LOST as lost:
            raise QueueDown from lost
        try:
            kept = self.receipts(ids)
        except DATABASE_ERRORS:
            return {one: None if (job := live.get(one)) is None or job.perhaps_final else job for one in ids}
        return {one: job for one in ids if (job := newest(live.get(one), kept.get(one)))}

    def receipt(self, job_id: UUID) -> JobRecord | None:
        """The job's receipt, from PostgreSQL alone."""
        job = self._kept(job_id)
        if job is not None:
            self._telling.tell([job])
        return job

    def receipts(self, ids: Iterable[UUID]) -> dict[UUID, JobRecord]:
        """Those jobs that have receipts, by their ids; from PostgreSQL."""
        wanted = ",".join(map(ident, ids))
        found = self._told(OF_MANY, {"ids": f"{{{wanted}}}"}) if wanted else []
        return {job.id: job for job in found}

    def page(
        self,
        owner: UUID | None,
        *,
        state: State | None = None,
        kind: str | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 20,
    ) -> list[JobRecord]:
        """At most `limit` jobs of `owner` (None: of everybody), newest first, from before (submitted_at, id).

        Redis is read first: a job that becomes final in between then shows in both, never in neither.
        With Redis away, what is final is still listed.
        """

        def wanted(job: JobRecord) -> bool:
            older = before is None or (job.submitted_at, job.id) < before
            return older and state in (None, job.state) and kind in (None, job.kind)

        live = self._live(owner, before, wanted, limit)
        final = {job.id: job for job in self._receipts(owner, state, kind, before, limit)}
        overtaken = self.receipts(live.keys() - final.keys())
        merged = {key: newest(job, final.get(key) or overtaken.get(key)) or job for key, job in live.items()}
        jobs = (final | merged).values()
        return sorted(filter(wanted, jobs), key=lambda job: (job.submitted_at, job.id), reverse=True)[:limit]

    def notify_when_final(self, job_id: UUID, channel: str) -> bool:
        """Have `channel` told when the job is final. False: it is already, or Redis does not have it."""
        try:
            return bool(self._watch(args=[str(job_id), channel]))
        except broker.LOST as lost:
            raise QueueDown from lost

    def _hash(self, job_id: UUID) -> JobRecord | None:
        return from_hash(job_id, cast(Values, self._redis.hmget(keys.job(job_id), FIELDS)))

    def _newest(self, job_id: UUID, live: JobRecord | None) -> JobRecord | None:
        kept = self._kept(job_id)
        job = newest(live, kept)
        if kept is not None and job is kept:
            self._telling.tell([kept], live=live)
        return job

    def _or_raise(self, job_id: UUID, lost: Exception) -> JobRecord:
        job = self._kept(job_id)
        if job is None:
            raise QueueDown from lost
        self._telling.owe(job)
        return job

    def _kept(self, job_id: UUID) -> JobRecord | None:
        with self._sessions.kw["bind"].connect() as connection:  # a session would cost as much again as its one query
            row = connection.execute(RECEIPT, {"id": job_id}).one_or_none()
        return from_receipt(row) if row is not None else None

    def _live(
        self,
        owner: UUID | None,
        before: tuple[datetime, UUID] | None,
        wanted: Callable[[JobRecord], bool],
        limit: int,
    ) -> dict[UUID, JobRecord]:
        """Unfinished jobs, newest first, in windows of the index of each owner.

        What is older than the oldest of a full window is left for the next round, because other such jobs of that
        owner may lie between: so no round passes over a job that belongs on the page.
        """
        newest_score: float = micros(before[0]) if before else float("inf")
        found: dict[UUID, JobRecord] = {}
        try:
            owners = [str(owner)] if owner else [as_text(name) for name in self._redis.smembers(keys.OWNERS)]
            while len(found) < limit and newest_score >= 0:
                windows = self._windows(owners, newest_score)
                horizon = max((window[-1][1] for window in windows if len(window) == WINDOW), default=-1.0)
                ids = [UUID(as_text(member)) for window in windows for member, score in window if score > horizon]
                found.update((job.id, job) for job in self._live_records(ids) if wanted(job))
                newest_score = horizon
        except broker.LOST:
            return {}
        return found

    def _windows(self, owners: list[str], newest_score: float) -> list[list[tuple[bytes, float]]]:
        pipe = self._redis.pipeline(transaction=False)
        for name in owners:
            pipe.zrevrangebyscore(keys.live_jobs(name), newest_score, "-inf", start=0, num=WINDOW, withscores=True)
        return pipe.execute() if owners else []

    def _live_records(self, ids: Sequence[UUID]) -> list[JobRecord]:
        if not ids:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(keys.job(job_id), FIELDS)
        found = (from_hash(job_id, values) for job_id, values in zip(ids, pipe.execute(), strict=True))
        return [job for job in found if job is not None]

    def _receipts(
        self,
        owner: UUID | None,
        state: State | None,
        kind: str | None,
        before: tuple[datetime, UUID] | None,
        limit: int,
    ) -> list[JobRecord]:
        query = LISTED.order_by(Receipt.submitted_at.desc(), Receipt.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(Receipt.owner_id == owner)
        if state is not None:
            query = query.where(Receipt.state == state.value)
        if kind is not None:
            query = query.where(Receipt.kind == kind)
        if before is not None:
            query = query.where(tuple_(Receipt.submitted_at, Receipt.id) < tuple_(*before))
        return self._told(query)

    def _told(self, query: Select[*tuple[Any, ...]], values: Mapping[str, str] | None = None) -> list[JobRecord]:
        with self._sessions.kw["bind"].connect() as connection:
            jobs = [from_receipt(row) for row in connection.execute(query, values)]
        self._telling.tell(jobs)
        return jobs


TOLD = [column for column in Receipt.__table__.columns if column.name not in ("result", "envelope")]
RECEIPT = select(*TOLD, Receipt.result.cast(Text).label("result")).where(Receipt.id == bindparam("id"))
LISTED = select(*TOLD, null().label("result"))
"""A list has no results: a page of those of large batches would be hundreds of megabytes."""

OF_MANY = LISTED.where(Receipt.id == any_(as_type(bindparam("ids", type_=Text), ARRAY(Uuid))))
"""As one text: to hand over a hundred ids one by one costs several times as much as all the rest of the look."""

WINDOW = 500
"""How many of an owner's unfinished jobs are looked at at once; more than one call of submit makes at one time."""


def newest(live: JobRecord | None, kept: JobRecord | None) -> JobRecord | None:
    """Which of the two tells the truth: the receipt, unless the job has been sent on a later run since."""
    if kept is None or (live is not None and live.run > kept.run):
        return live
    return kept
