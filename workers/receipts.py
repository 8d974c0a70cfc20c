"""Receipts, from a worker's side: claim jobs, record their outcomes, read first outcomes (DESIGN.md §3).

A claim is the receipt's row itself: whoever inserts it may carry the job out, and it commits with the effect. A row
of a `failed` job gives way to a later run of that job; any other row is the job's first and last outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from jobs.kernel.outcome import Done, State
from workers.settle import Final
from workers.work import Work

CLAIM = text(
    """
    INSERT INTO receipts AS kept (id, owner_id, kind, state, run, attempts, fingerprint, resource,
                                  submitted_at, run_at, started_at, finished_at)
    SELECT id, owner_id, kind, 'canceled', run, attempts, fingerprint, resource,
           submitted_at, run_at, started_at, started_at
    FROM json_to_recordset(CAST(:rows AS json)) AS claim(
        id uuid, owner_id uuid, kind text, run int, attempts int, fingerprint text, resource text,
        submitted_at timestamptz, run_at timestamptz, started_at timestamptz)
    ORDER BY id
    ON CONFLICT (id) DO UPDATE
        SET run = excluded.run, attempts = excluded.attempts, run_at = excluded.run_at, started_at = excluded.started_at
        WHERE kept.state = 'failed' AND kept.run < excluded.run
    RETURNING id
    """
)
RECORD = text(
    """
    UPDATE receipts SET state = done.state, result = done.result, error = done.error, envelope = done.envelope,
                        finished_at = :finished_at
    FROM json_to_recordset(CAST(:rows AS json)) AS done(id uuid, state text, result jsonb, error jsonb, envelope jsonb)
    WHERE receipts.id = done.id
    """
)
RELEASE = text("DELETE FROM receipts WHERE id = ANY(CAST(:ids AS uuid[]))")
FIRST = text(
    """
    SELECT id, state, result, error, resource, attempts, started_at, finished_at
    FROM receipts WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)


def claim(session: Session, works: Iterable[Work]) -> set[UUID]:
    """Claim jobs, in order of their ids; returns those that are this transaction's to carry out.

    Waits for another transaction that is claiming the same job, as long as lock_timeout allows.
    """
    return set(session.scalars(CLAIM, {"rows": dumps([claimed(work) for work in works])}))


def claimed(work: Work) -> dict[str, Any]:
    """The row that claims a job."""
    delivery = work.delivery
    return {
        "id": delivery.job_id,
        "owner_id": delivery.owner,
        "kind": work.kind,
        "run": delivery.run,
        "attempts": delivery.attempt,
        "fingerprint": delivery.fingerprint,
        "resource": work.job.resource if work.job else None,
        "submitted_at": delivery.submitted_at,
        "run_at": delivery.run_at,
        "started_at": delivery.started_at,
    }


def record(session: Session, done: Sequence[tuple[Work, Done]], finished_at: datetime) -> None:
    """Write the outcomes of claimed jobs."""
    rows = [
        {
            "id": work.delivery.job_id,
            "state": outcome.state,
            "result": outcome.result,
            "error": outcome.error,
            "envelope": work.envelope if outcome.state is State.FAILED else None,
        }
        for work, outcome in done
    ]
    session.execute(RECORD, {"rows": dumps(rows), "finished_at": finished_at})


def release(session: Session, works: Sequence[Work]) -> None:
    """Take back the claims of jobs that are to run again."""
    session.execute(RELEASE, {"ids": [work.delivery.job_id for work in works]})


def first_outcomes(session: Session, job_ids: Iterable[UUID]) -> dict[UUID, Final]:
    """The outcomes of record of jobs that have one."""
    rows = session.execute(FIRST, {"ids": list(job_ids)})
    return {
        row.id: Final(
            State(row.state), row.result, row.error, row.resource, row.attempts, row.started_at, row.finished_at
        )
        for row in rows
    }


def dumps(rows: list[dict[str, Any]]) -> str:
    """Rows as one JSON parameter. NUL, which PostgreSQL cannot store, never gets here: bodies are checked."""
    return orjson.dumps(rows).decode()
