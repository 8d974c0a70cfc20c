"""Importing users: looked for, hashed in threads, sent as jobs, and waited for until what became of each is known."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from api.passwords import hashed
from api.services import Services
from api.user_rows import Row, Wrong
from jobs.kernel.errors import AppError
from jobs.kernel.ledger import Ledger
from jobs.kernel.outcome import State
from jobs.kernel.record import JobRecord
from jobs.kernel.secret import sealed
from jobs.kernel.submit import Submission, new_id
from models.session import Sessions
from models.user import folded

CHUNK = 100
"""Rows in memory at a time, and jobs in one call of Redis."""

THREADS = min(4, os.cpu_count() or 1)
"""That hash: argon2 lets go of the interpreter's lock, and takes 64 MiB for each."""

PAUSE = 0.05
"""Seconds between two looks for outcomes."""

THERE = text(
    f"""
    SELECT asked.email FROM unnest(CAST(:emails AS text[])) AS asked(email)
    JOIN users ON {folded("users.email")} = {folded("asked.email")} AND users.deleted_at IS NULL
    """
)


class Fate(StrEnum):
    """What became of a row."""

    IMPORTED = "imported"
    SKIPPED = "skipped"
    INVALID = "invalid"
    FAILED = "failed"
    UNSENT = "not sent"
    QUEUED = "still queued"


ENDING = frozenset({Fate.UNSENT, Fate.QUEUED})
"""Where Redis takes no more, or no worker works, the rest of a file would fare no better."""


class Told(NamedTuple):
    """A row's line, its fate, and what there is to say about that."""

    line: int
    fate: Fate
    detail: str = ""


def imported(own: Services, rows: Iterable[Row | Wrong], patience: float) -> Iterator[Told]:
    """What became of each row, in order of lines. It ends early after rows that could not be sent, or whose jobs no worker
    has carried out: none of `rows` is taken then any more.

    `patience`: seconds to wait for the next outcome. Raises one of DATABASE_ERRORS when PostgreSQL does not answer.
    """
    left = iter(rows)
    while chunk := list(islice(left, CHUNK)):
        told = sorted(_chunk(own, chunk, patience))
        yield from told
        if any(one.fate in ENDING for one in told):
            return


def _chunk(own: Services, chunk: Sequence[Row | Wrong], patience: float) -> list[Told]:
    found = [row for row in chunk if isinstance(row, Row)]
    there = _there(own.readers, [row.command.email for row in found])
    told = [Told(row.line, Fate.INVALID, row.reason) for row in chunk if isinstance(row, Wrong)]
    told += [_skipped(row.line) for row in found if row.command.email in there]
    return told + _send(own, [row for row in found if row.command.email not in there], patience)


def _there(readers: Sessions, emails: Collection[str]) -> set[str]:
    """Those emails that somebody has: only to spare the hashing, since the worker decides."""
    with readers() as session:
        return set(session.scalars(THERE, {"emails": list(emails)}))


def _send(own: Services, rows: Sequence[Row], patience: float) -> list[Told]:
    with ThreadPoolExecutor(THREADS) as pool:
        commands = list(pool.map(lambda row: sealed(row.command, hashed), rows))
    submissions = [Submission(id=new_id(), command=command, owner=None) for command in commands]
    told: list[Told] = []
    lines: dict[UUID, int] = {}
    for row, submission, result in zip(rows, submissions, own.submitter.submit_many(submissions), strict=True):
        if isinstance(result, AppError):
            told.append(Told(row.line, Fate.UNSENT, result.detail))
        else:
            lines[submission.id] = row.line
    known = _outcomes(own.ledger, lines.keys(), patience)
    return told + [_told(line, job_id, known.get(job_id)) for job_id, line in lines.items()]


def _outcomes(ledger: Ledger, ids: Collection[UUID], patience: float) -> dict[UUID, JobRecord]:
    """The jobs of these ids that became final before there was no news for so many seconds."""
    known: dict[UUID, JobRecord] = {}
    heard = time.monotonic()
    while (left := set(ids) - known.keys()) and time.monotonic() - heard < patience:
        if news := ledger.receipts(left):
            known |= news
            heard = time.monotonic()
        else:
            time.sleep(PAUSE)
    return known


def _told(line: int, job_id: UUID, job: JobRecord | None) -> Told:
    if job is None:
        return Told(line, Fate.QUEUED, f"job {job_id}")
    if job.state is State.SUCCEEDED:
        return Told(line, Fate.IMPORTED)
    error = job.error or {}
    if error.get("code") == "email_taken":
        return _skipped(line)
    return Told(line, Fate.FAILED, f"job {job_id} {job.state}: {error.get('detail', '')}")


def _skipped(line: int) -> Told:
    return Told(line, Fate.SKIPPED, "a user with this email is there already")
