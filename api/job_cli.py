"""Jobs from the command line: `flask --app api.app jobs …`. Whoever works here may do all that an admin may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import click
from flask.cli import AppGroup

from api.cli_audit import note
from api.cli_following import WAIT, follow
from api.cli_output import AS_JSON, Column, in_sentences, number, print_json, print_rows
from api.dead_letter_cli import dead
from api.services import services
from jobs.kernel.cancel import Canceled
from jobs.kernel.errors import AppError, NotFound
from jobs.kernel.outcome import State
from jobs.kernel.record import JobRecord
from jobs.kernel.rerun import Rerun
from models.views import ident

COLORS = {"succeeded": "green", "failed": "red", "rejected": "yellow", "canceled": "yellow", "error": "red"}


def moment(value: str) -> str:
    """A time as people read it, to the second."""
    return f"{value[:10]} {value[11:19]}"


COLUMNS = (
    Column("job", "id"),
    Column("kind", "kind"),
    Column("status", "status", style=lambda status: COLORS.get(status, "")),
    Column("submitted (UTC)", "submitted_at", moment),
    Column("finished (UTC)", "finished_at", moment),
    number("attempts", "attempts"),
    Column("error", "error", lambda error: str(error["code"])),
)
FATES = (
    Column("job", "id"),
    Column("kind", "kind"),
    Column("outcome", "outcome", style=lambda outcome: COLORS.get(outcome, "")),
    Column("why", "error", lambda error: str(error["detail"])),
)
FIELDS = (Column("field", "field"), Column("value", "value"))
IDS = click.argument("ids", nargs=-1, required=True, type=click.UUID, metavar="ID...")

jobs = AppGroup("jobs", help="Jobs: find them, cancel them, run failed ones again.")
jobs.add_command(dead)


@jobs.command("show")
@click.argument("job_id", type=click.UUID, metavar="ID")
@AS_JSON
@in_sentences
def show(job_id: UUID, as_json: bool) -> None:
    """Show one job; to programs, with its result."""
    job = services().ledger.find(job_id)
    if job is None:
        raise NotFound("There is no such job.")
    shown = job.view()
    if as_json:
        print_json(shown)
        return
    error = shown["error"] or {}
    fields = {
        **{
            name: shown[name]
            for name in ("id", "kind", "status", "submitted_at", "run_at", "started_at", "finished_at")
        },
        "attempts": job.attempts,
        "run": job.run,
        "owner": ident(job.owner) if job.owner else None,
        "progress": f"{job.progress['done']} of {job.progress['total']}" if job.progress else None,
        "error": f"{error['code']}: {error['detail']}" if error else None,
        "resource": job.resource,
    }
    rows = [{"field": name, "value": value} for name, value in fields.items() if value is not None]
    print_rows(rows, FIELDS, as_json=False, nothing="")


@jobs.command("list")
@click.option("--status", type=click.Choice([state.value for state in State]))
@click.option("--kind")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100))
@AS_JSON
@in_sentences
def list_jobs(status: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """List jobs of everybody, newest first."""
    own = services()
    own.redis.ping()  # or what is on its way would be left out without a word
    found = own.ledger.page(None, state=State(status) if status else None, kind=kind, limit=limit)
    rows = [job.view(with_result=False) for job in found]
    print_rows(rows, COLUMNS, as_json=as_json, nothing="No jobs.")


@jobs.command("cancel")
@IDS
@AS_JSON
@click.pass_context
@in_sentences
def cancel(context: click.Context, ids: tuple[UUID, ...], as_json: bool) -> None:
    """Cancel jobs that are not over.

    What no worker ever had is canceled at once; of the rest it is asked, and a worker answers.
    """

    def act(job: JobRecord) -> str:
        at_once = services().control.cancel(job) is Canceled.CANCELED
        note("job_canceled" if at_once else "job_cancel_asked", job_id=ident(job.id), kind=job.kind)
        return "canceled" if at_once else "asked"

    rows = [_fate(job_id, act) for job_id in ids]
    _end(context, rows, as_json)


@jobs.command("retry")
@IDS
@WAIT
@AS_JSON
@click.pass_context
@in_sentences
def retry(context: click.Context, ids: tuple[UUID, ...], wait: float, as_json: bool) -> None:
    """Run failed jobs again, and wait for what comes of it."""

    def act(job: JobRecord) -> str:
        word = services().control.retry(job)
        if word is Rerun.NEW:
            note("job_retried", job_id=ident(job.id), kind=job.kind)
        return "queued" if word is Rerun.NEW else "under way"

    rows = [_fate(job_id, act) for job_id in ids]
    begun = [UUID(row["id"]) for row in rows if row["error"] is None]
    found = follow(begun, wait, "Running again") if wait and begun else {}
    for row in rows:
        if (job := found.get(UUID(row["id"]))) is not None:
            row |= {"outcome": job.state.value, "error": job.error}
    _end(context, rows, as_json, unless=State.SUCCEEDED if wait else None)


def _fate(job_id: UUID, act: Callable[[JobRecord], str]) -> dict[str, Any]:
    """What came of an action, or why it was refused."""
    job = services().ledger.decided(job_id)
    row: dict[str, Any] = {"id": ident(job_id), "kind": job.kind if job else None, "error": None}
    try:
        if job is None:
            raise NotFound("There is no such job.")
        return row | {"outcome": act(job)}
    except AppError as refused:
        return row | {"outcome": "error", "error": refused.problem()}


def _end(context: click.Context, rows: Sequence[dict[str, Any]], as_json: bool, unless: State | None = None) -> None:
    """Tell; and end with 1 where anything was refused, or has come to anything else than it was to."""
    print_rows(rows, FATES, as_json=as_json, nothing="")
    context.exit(int(any(row["error"] or (unless and row["outcome"] != unless) for row in rows)))
