"""What has become of many jobs since they were seen last, asked again and again: of Redis in one call, and of PostgreSQL only
where it may know more.

A receipt wins wherever there is one. So it is looked for before anything is told of a job that may have one: that is final,
running, in doubt, or gone. One that is in doubt, or gone, is looked for each time; of one that runs on as it did before,
nobody asks PostgreSQL, since its worker tells Redis of the end, or dies, and then it will be in doubt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import UUID

from redis import Redis

from jobs.kernel.ledger import Ledger, newest
from jobs.kernel.outcome import State
from jobs.kernel.record import FIELDS, JobRecord, from_hash
from jobs.kernel.scripts import script
from models.session import DATABASE_ERRORS
from models.views import ident


class Known(Protocol):
    """A job as it was seen last. `mark`: as a change had it; empty where there was none yet."""

    @property
    def version(self) -> int: ...
    @property
    def mark(self) -> bytes: ...


class Change(NamedTuple):
    """What a job is now; None: it is no more, and nobody knows what became of it. `mark`: to be known by; empty of one that is
    to be looked at again in any case."""

    job: JobRecord | None
    mark: bytes


class Changes:
    """Looks for them, for any number of threads."""

    def __init__(self, redis: Redis, ledger: Ledger) -> None:
        self._changed = script(redis, Path(__file__).with_name("changes.lua"))
        self._ledger = ledger

    def since(self, known: Mapping[UUID, Known]) -> dict[UUID, Change]:
        """Those of the jobs that may have changed. Raises one of `broker.LOST`; where only PostgreSQL could tell of any, and it
        cannot be asked, one of DATABASE_ERRORS. Where it could of some, these are left out."""
        found = dict(self._live(known))
        doubtful = {job_id for job_id, seen in found.items() if _is_doubtful(seen.job, known[job_id])}
        try:
            kept = self._ledger.receipts(doubtful)
        except DATABASE_ERRORS:
            found = {job_id: seen for job_id, seen in found.items() if job_id not in doubtful}
            kept = {}
            if not found:
                raise
        changes = {}
        for job_id, (live, mark) in found.items():
            job = newest(live, kept.get(job_id))
            if job is None or job is not live or not _is_half_told(job):
                changes[job_id] = Change(job, mark)
        return changes

    def _live(self, known: Mapping[UUID, Known]) -> Iterator[tuple[UUID, Change]]:
        """What Redis has of those whose mark is another."""
        ids = list(known)
        marks = (value for job_id in ids for value in (ident(job_id), known[job_id].mark))
        for place, mark, values in self._changed(args=[len(FIELDS), *FIELDS, *marks]):
            job = from_hash(ids[place - 1], values) if values else None
            yield ids[place - 1], Change(job, b"" if job is None or job.in_doubt else mark)


def _is_doubtful(live: JobRecord | None, known: Known) -> bool:
    """Whether a receipt may stand behind what would be told of it."""
    return live is None or live.in_doubt or (live.perhaps_final and live.version > known.version)


def _is_half_told(live: JobRecord) -> bool:
    """Whether a job is over, and Redis alone says so, which has no outcomes: its receipt has not come to a replica yet. Of what
    was canceled there is no more to tell, and nobody may have written it down yet."""
    return live.state.final and live.state is not State.CANCELED
