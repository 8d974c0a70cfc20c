"""Dead letters: the receipts of failed jobs, with what is needed to run those again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row, select

from jobs.kernel.outcome import State
from jobs.kernel.rerun import DeadLetter
from models import Receipt
from models.session import Sessions

COLUMNS = (
    Receipt.id,
    Receipt.kind,
    Receipt.owner_id,
    Receipt.run,
    Receipt.attempts,
    Receipt.fingerprint,
    Receipt.resource,
    Receipt.submitted_at,
    Receipt.run_at,
    Receipt.started_at,
    Receipt.finished_at,
    Receipt.error,
    Receipt.envelope,
)


class DeadLetters:
    """Reads them from PostgreSQL. What has been sent on another run since, only Redis knows (`Ledger`)."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def find(self, job_id: UUID) -> DeadLetter | None:
        """The job's, if it has failed; None as well where it is not there. Raises one of DATABASE_ERRORS."""
        wanted = select(*COLUMNS).where(Receipt.id == job_id, Receipt.state == State.FAILED.value)
        with self._sessions.kw["bind"].connect() as connection:
            row = connection.execute(wanted).one_or_none()
        return _letter(row) if row is not None else None


def _letter(row: Row[*tuple[Any, ...]]) -> DeadLetter:
    values = row._asdict()
    return DeadLetter(owner=values.pop("owner_id"), **values)
