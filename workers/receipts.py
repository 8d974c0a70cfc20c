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

from jobs.kernel.outcome import Done, State
from workers.settle import Final
from workers.work import Work

FIRST = text(
    """
    SELECT id, run, state, result, error, resource, attempts, started_at, finished_at
    FROM receipts WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
RECORD = text(
    """
    INSERT INTO receipts AS kept (id, owner_id, kind, state, run, attempts, fingerprint, resource,
                                  submitted_at, run_at, started_at, finished_at, result, error, envelope)
    SELECT id, owner_id, kind, state, run, attempts, fingerprint, resource,
           submitted_at, run_at, started_at, :finished_at, result, error, envelope
    FROM json_to_recordset(CAST(:rows AS json)) AS done(
        id uuid, owner_id uuid, kind text, state text, run int, attempts int, fingerprint text, resource text,
        submitted_at timestamptz, run_at timestamptz, started_at timestamptz, result jsonb, error jsonb, envelope jsonb)
    ORDER BY id
    ON CONFLICT (id) DO UPDATE
        SET state = excluded.state, run = excluded.run, attempts = excluded.attempts, run_at = excluded.run_at,
            started_at = excluded.started_at, finished_at = excluded.finished_at,
            result = excluded.result, error = excluded.error, envelope = excluded.envelope
        WHERE kept.state = 'failed' AND kept.run < excluded.run
    """
)


class OvertakenError(Exception):
    """Another transaction has recorded a job of this one meanwhile: nothing of this one may stay."""


def first_outcomes(session: Session, works: Sequence[Work]) -> dict[UUID, Final]:
    """The outcomes of those jobs that are done already, by their ids."""
    runs = {work.delivery.job_id: work.delivery.run for work in works}
    return {
        row.id: Final(
            State(row.state), row.result, row.error, row.resource, row.attempts, row.started_at, row.finished_at
        )
        for row in session.execute(FIRST, {"ids": list(runs)})
        if not (row.state == State.FAILED and row.run < runs[row.id])
    }


def record(session: Session, done: Sequence[tuple[Work, Done]], finished_at: datetime) -> None:
    """Write the receipts of these jobs, in order of their ids.

    Waits for another transaction that is writing one of them, as long as lock_timeout allows. Raises OvertakenError
    when a job has a receipt by now: then the caller has to roll back.
    """
    if not done:
        return
    rows = orjson.dumps([_row(work, outcome) for work, outcome in done]).decode()
    written = session.execute(RECORD, {"rows": rows, "finished_at": finished_at})
    if written.rowcount != len(done):  # type: ignore[attr-defined]
        raise OvertakenError


def make_sure_open(session: Session, works: Sequence[Work]) -> None:
    """Raise OvertakenError when one of these jobs, which are to run again, has a receipt by now."""
    if works and first_outcomes(session, works):
        raise OvertakenError


def _row(work: Work, outcome: Done) -> dict[str, Any]:
    delivery = work.delivery
    return {
        "id": delivery.job_id,
        "owner_id": delivery.owner,
        "kind": work.kind,
        "state": outcome.state,
        "run": delivery.run,
        "attempts": delivery.attempt,
        "fingerprint": delivery.fingerprint,
        "resource": work.job.resource if work.job else None,
        "submitted_at": delivery.submitted_at,
        "run_at": delivery.run_at,
        "started_at": delivery.started_at,
        "result": outcome.result,
        "error": outcome.error,
        "envelope": work.envelope if outcome.state is State.FAILED else None,
    }
