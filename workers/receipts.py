"""Receipts, from a worker's side: which jobs have one, and writing those of a batch (DESIGN.md §3).

A receipt is the claim to a job's effect: it commits with the effect, in the same transaction, and there is one per
job. A row of a `failed` job gives way to a later run of that job; any other row is the job's first and last outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from jobs.kernel.errors import KeyExpired
from jobs.kernel.outcome import Done, State, rejected
from models.sets import add, fetch
from models.views import ident, instant
from workers.settle import Final
from workers.work import Work

FIRST = "SELECT id, run, state, finished_at, effects FROM receipts WHERE id = ANY(CAST(%(ids)s AS uuid[]))"
GIVE_WAY = text(
    """
    DELETE FROM receipts USING unnest(CAST(:ids AS uuid[]), CAST(:runs AS int[])) AS later(id, run)
    WHERE receipts.id = later.id AND receipts.state = 'failed' AND receipts.run < later.run
    """
)
COLUMNS = (
    "id",
    "owner_id",
    "kind",
    "state",
    "run",
    "attempts",
    "fingerprint",
    "resource",
    "submitted_at",
    "run_at",
    "started_at",
    "finished_at",
    "result",
    "error",
    "effects",
    "progress",
    "envelope",
)
UNIQUE_VIOLATION = "23505"


class OvertakenError(Exception):
    """Another transaction has recorded a job of this one meanwhile: nothing of this one may stay."""


def first_outcomes(session: Session, works: Sequence[Work]) -> dict[UUID, Final]:
    """The outcomes of those jobs that are done already, by their ids."""
    runs = {work.delivery.job_id: work.delivery.run for work in works}
    return {
        job_id: Final(State(state), finished_at, effects)
        for job_id, run, state, finished_at, effects in fetch(session, FIRST, ids=[ident(job_id) for job_id in runs])
        if not (state == State.FAILED and run < runs[job_id])
    }


def record(session: Session, done: Sequence[tuple[Work, Done]], finished_at: datetime) -> None:
    """Write the receipts of these jobs, in order of their ids.

    Waits for another transaction that is writing one of them, as long as lock_timeout allows. Raises a unique
    violation when a job has a receipt by now (`overtaken` knows it): then the caller has to roll back.
    """
    later = {work.delivery.job_id: work.delivery.run for work, _ in done if work.delivery.run > 1}
    if later:
        session.execute(GIVE_WAY, {"ids": list(later), "runs": list(later.values())})
    if done:
        ordered = sorted(done, key=lambda one: one[0].delivery.id)
        add(session, "receipts", COLUMNS, [_row(work, outcome, finished_at) for work, outcome in ordered])


def overtaken(error: BaseException) -> bool:
    """Whether a transaction failed because one of its jobs has a receipt, or its effect, by now."""
    cause = getattr(error, "orig", error)
    return isinstance(error, OvertakenError) or getattr(cause, "pgcode", None) == UNIQUE_VIOLATION


def forgotten(work: Work, error: BaseException) -> Done | None:
    """The outcome of a job with a key that raised because what it makes, which bears its id, is there already. That was
    committed with a receipt: so where the job has none, it has been pruned."""
    reported = getattr(getattr(error, "orig", error), "diag", None)
    table = getattr(reported, "table_name", None)
    taken = table not in (None, "receipts") and getattr(reported, "constraint_name", None) == f"pk_{table}"
    return rejected(KeyExpired()) if taken and work.delivery.fingerprint is not None else None


def make_sure_open(session: Session, works: Sequence[Work]) -> None:
    """Raise OvertakenError when one of these jobs, which are to run again, has a receipt by now."""
    if works and first_outcomes(session, works):
        raise OvertakenError


def _row(work: Work, outcome: Done, finished_at: datetime) -> tuple[str | None, ...]:
    delivery = work.delivery
    return (
        ident(work.id),
        ident(delivery.owner) if delivery.owner else None,
        work.kind,
        outcome.state.value,
        str(delivery.run),
        str(delivery.attempt),
        delivery.fingerprint,
        work.resource,
        instant(delivery.submitted_at),
        instant(delivery.run_at),
        instant(delivery.started_at) if delivery.canceled_at is None else None,
        instant(work.ended(finished_at)),
        _json(outcome.result),
        _json(outcome.error),
        _json(outcome.effects),
        _json(outcome.progress),
        _json(work.kept_envelope) if outcome.state is State.FAILED else None,
    )


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
