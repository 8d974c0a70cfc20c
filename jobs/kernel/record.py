"""The record of a job, as Redis or its receipt has it, and how it looks to a client (CONTRACT.md §2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from orjson import Fragment
from sqlalchemy import Row

from jobs.kernel import registry
from jobs.kernel.effects import Effects, implied
from jobs.kernel.outcome import State
from jobs.kernel.times import from_micros
from models.views import ident, instant

FIELDS = (
    "description",
    "state",
    "owner",
    "created_at",
    "due",
    "started_at",
    "ended_at",
    "attempts",
    "target",
    "fingerprint",
    "run",
    "in_doubt",
    "progress",
    "moves",
)
"""The fields of a job's hash that a record needs, in the order `from_hash` takes their values."""


STAGES = 1_000_000
"""Changes of status that one run of a job can have; LAST is its final one."""

LAST = STAGES - 1
MOST_DONE = 100_000
"""More items than any job has."""

Values = Sequence[bytes | None]
"""What HMGET of `FIELDS` gives."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of one job. Times are UTC; `progress` is `{done, total}` or None; `run` counts from 1.
    `moves`: how often it has gone back to waiting. `in_doubt`: a worker that had it may have committed it, and never told. `effects`: of its outcome, in Redis.
    `result`: JSON, for orjson to put where it belongs. What Redis has of a final job is not its outcome: that stands in
    the receipt.
    """

    id: UUID
    kind: str
    owner: UUID | None
    state: State
    submitted_at: datetime
    run_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: int = 0
    progress: dict[str, int] | None = None
    result: Fragment | None = None
    error: dict[str, Any] | None = None
    resource: str | None = None
    fingerprint: str | None = None
    run: int = 1
    in_doubt: bool = False
    effects: Effects | None = None
    moves: int = 0

    @property
    def stage(self) -> int:
        """Grows with each change of `status`; after a retry too."""
        within = LAST if self.state.final else min(2 * self.moves + (self.state is State.RUNNING), LAST - 1)
        return self.run * STAGES + within

    @property
    def version(self) -> int:
        """Grows with each change that a client can see; below 2^53 for any run that anybody asks for."""
        done = self.progress["done"] if self.progress and not self.state.final else 0
        return self.stage * MOST_DONE + min(done, MOST_DONE - 1)

    @property
    def changes(self) -> tuple[Effects | None, ...]:
        """What its outcome changes in Redis."""
        return implied(self.kind, self.owner), self.effects

    @property
    def perhaps_final(self) -> bool:
        """Whether a receipt may stand behind what Redis says: of a job that a worker has in hand, or had and never told."""
        return self.in_doubt or self.state is State.RUNNING or self.state.final

    def view(self, *, with_result: bool = True) -> dict[str, Any]:
        """The job as a client sees it; without `result` in lists and streams."""
        name = ident(self.id)
        path = f"/v1/jobs/{name}"
        body = {
            "id": name,
            "kind": self.kind,
            "status": self.state.value,
            "submitted_at": instant(self.submitted_at),
            "run_at": instant(self.run_at),
            "started_at": instant(self.started_at),
            "finished_at": instant(self.finished_at),
            "attempts": self.attempts,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
            "links": {"self": path, "events": f"{path}/events", "resource": self.resource},
        }
        if not with_result:
            del body["result"]
        return body


def from_hash(job_id: UUID, values: Values) -> JobRecord | None:
    """The record in a job's hash (`FIELDS`); None where there is no hash, or none that can be read as ours."""
    try:
        return _from_hash(job_id, values)
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        return None


def _from_hash(job_id: UUID, values: Values) -> JobRecord | None:
    kind, state, owner, created, due, started, ended, attempts, target, fingerprint, run, doubt, progress, moves = (
        values
    )
    if state is None or created is None or kind is None:
        return None
    return JobRecord(
        id=job_id,
        kind=(name := kind.decode()),
        owner=UUID(owner.decode()) if owner else None,
        state=State(state.decode()),
        submitted_at=parsed(created),
        run_at=from_micros(int(due)) if due else None,
        started_at=parsed(started) if started else None,
        finished_at=parsed(ended) if ended else None,
        attempts=int(attempts or 0),
        progress=_progress(progress) if state == b"running" else None,
        resource=_resource(name, job_id, UUID(target.decode()) if target else None),
        fingerprint=fingerprint.decode() if fingerprint else None,
        run=int(run or 1),
        in_doubt=doubt is not None,
        moves=int(moves or 0),
    )


def from_receipt(row: Row[*tuple[Any, ...]]) -> JobRecord:
    """The record in the columns of a receipt, of which `result` is JSON as it is told: that of a large batch would take
    longer to read, and to write again, than all the rest."""
    return JobRecord(
        id=row.id,
        kind=row.kind,
        owner=row.owner_id,
        state=State(row.state),
        submitted_at=row.submitted_at.astimezone(UTC),
        run_at=row.run_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempts=row.attempts,
        progress=row.progress,
        result=Fragment(row.result) if row.result is not None else None,
        error=row.error,
        resource=row.resource,
        fingerprint=row.fingerprint,
        run=row.run,
        effects=cast(Effects | None, row.effects),
    )


def parsed(value: bytes) -> datetime:
    """A time as RQ writes it."""
    return datetime.fromisoformat(value.decode())


def _resource(kind: str, job_id: UUID, target: UUID | None) -> str | None:
    command = registry.find(kind)
    return command.resource_of(job_id, target) if command else None


def _progress(told: bytes | None) -> dict[str, int] | None:
    """What `workers/progress.lua` has written of the job's present, or last, execution."""
    if told is None:
        return None
    done, total = told.split(b"/")
    return {"done": int(done), "total": int(total)}
