"""Telling outcomes by their receipts, before or instead of the worker: first they change in Redis what they have to change.

A worker does that in the script that makes the job's hash final; so where the hash is final, it is done. Where there is
none, Redis has lost it, or the job has been final for so long that it would change nothing any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from redis import Redis

from jobs.kernel import broker, keys
from jobs.kernel.effects import Applier, Effects
from jobs.kernel.record import FIELDS, JobRecord, from_hash

MARGIN = timedelta(minutes=2)
"""Beyond the time for which reads are kept: by so much may clocks differ, and a commit come after the time in its receipt."""


class Telling:
    """What outcomes change in Redis, changed before they are told. Raises nothing: what Redis could not be told of now, it is
    told of as soon as it answers."""

    def __init__(self, redis: Redis, *, lag: int = 0, ttl: int = 60) -> None:
        """lag: seconds by which receipts, and all reads, may be late; ttl: for which reads are kept."""
        self._redis = redis
        self._effects = Applier(redis, lag)
        self._lasts = timedelta(seconds=ttl + lag) + MARGIN

    @property
    def owes(self) -> bool:
        """Whether outcomes were told that Redis has not been told of yet: then what reads have kept may be older than these."""
        return self._effects.owes

    def tell(self, jobs: Sequence[JobRecord], *, live: JobRecord | None = None) -> None:
        """These are about to be told. `live`: what Redis says of the one that is, where it was asked just before."""
        changing = [job for job in jobs if self._changes(job)]
        found = [live] if live is not None else self._live(changing)
        unsettled = [job for job, live in zip(changing, found, strict=False) if not _is_settled(job, live)]
        self._effects.apply(change for job in unsettled for change in self._changes(job))

    def owe(self, job: JobRecord) -> None:
        """This one is about to be told, and Redis did not answer just now; unless that was known, it is asked once more."""
        changes = self._changes(job)
        if changes and self.owes:
            self._effects.owe(changes)
        elif changes:
            self._effects.apply(changes)

    def _live(self, jobs: Sequence[JobRecord]) -> Sequence[JobRecord | None]:
        """What Redis says of each, as far as it can be asked."""
        pipe = self._redis.pipeline(transaction=False)
        for job in jobs:
            pipe.hmget(keys.job(job.id), FIELDS)
        try:
            found = pipe.execute(raise_on_error=False) if jobs else []
        except broker.LOST:
            return [None] * len(jobs)
        return [from_hash(job.id, values) for job, values in zip(jobs, found, strict=True)]

    def _changes(self, job: JobRecord) -> list[Effects]:
        """What the outcome changes that Redis may not know. Pages that are older than it are gone by themselves after a while;
        sessions are not."""
        outlived = job.finished_at is not None and datetime.now(UTC) - job.finished_at > self._lasts
        return [change for change in job.changes if change and (not outlived or "sessions" in change)]


def _is_settled(job: JobRecord, live: JobRecord | None) -> bool:
    return live is not None and live.state.final and live.run >= job.run
