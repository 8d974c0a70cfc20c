"""Dead letters: the receipts of failed jobs, with what is needed to run those again, and what may be shown of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.orm import Session

from jobs.kernel.envelope import open_command
from jobs.kernel.errors import Failed
from jobs.kernel.private import redacted
from jobs.kernel.record import JobRecord
from jobs.kernel.rerun import DeadLetter
from models import letter_store
from models.letter_store import Letter, Place, Which
from models.session import Sessions
from models.views import ident, instant

TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


class DeadLetters:
    """Reads them from PostgreSQL. What has been sent on another run since, only Redis knows (`Ledger`)."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def find(self, job_id: UUID) -> DeadLetter | None:
        """The job's, if it has failed, discarded or not; None as well where it is not there. Raises one of DATABASE_ERRORS."""
        found = self._read(letter_store.one(job_id))
        return found[0] if found else None

    def page(self, which: Which, before: Place | None = None, most: int = 20) -> list[DeadLetter]:
        """At most so many, newest first, from behind a place on; without their envelopes. Raises one of DATABASE_ERRORS."""
        return self._read(letter_store.newest(which, before, most))

    def _read(self, query: Select[Any]) -> list[DeadLetter]:
        with self._sessions.kw["bind"].connect() as connection:
            return [_letter(row) for row in connection.execute(query)]


def next_page(session: Session, which: Which, after: Place | None, most: int) -> list[DeadLetter]:
    """The next of them, oldest first, to be run again; at most so many, and as many as can be held in memory."""
    return [_letter(row) for row in letter_store.oldest(session, which, after, most)]


def view(letter: DeadLetter, live: JobRecord | None = None) -> dict[str, Any]:
    """A dead letter as lists show it. `live`: what Redis has of its job, which may be on another run."""
    name = ident(letter.id)
    again = live is not None and live.run > letter.run
    return {
        "id": name,
        "kind": letter.kind,
        "queue": letter.policy.queue,
        "user_id": ident(letter.owner) if letter.owner else None,
        "status": live.state.value if live and again else "failed",
        "error": letter.error,
        "run": letter.run,
        "attempts": letter.attempts,
        "submitted_at": instant(letter.submitted_at),
        "run_at": instant(letter.run_at),
        "started_at": instant(letter.started_at),
        "failed_at": instant(letter.finished_at),
        "links": {"self": f"/v1/dead-letters/{name}", "job": f"/v1/jobs/{name}", "resource": letter.resource},
    }


def payload(letter: DeadLetter) -> Any:
    """What was sent, without what is private. Where it cannot be read here, or is of no kind that is declared here, of what
    type its members are, and no more; None where nothing is left of it."""
    if letter.envelope is None:
        return None
    body = letter.envelope.get("body", {})
    try:
        command = open_command(letter.envelope)
    except Failed:
        return {name: _type(value) for name, value in body.items()} if isinstance(body, dict) else _type(body)
    return redacted(type(command), body)


def _type(value: Any) -> str:
    return TYPES.get(type(value), "null")


def _letter(row: Letter) -> DeadLetter:
    values = row._asdict()
    return DeadLetter(owner=values.pop("owner_id"), **values)
