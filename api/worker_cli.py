"""Workers from the command line: `flask --app api.app workers …`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask.cli import AppGroup

from api.cli_output import AS_JSON, Column, in_sentences, number, print_rows, span
from api.services import services
from jobs.kernel.fleet import WorkerView
from models.views import instant

STYLES = {"dead": "red", "busy": "green"}
COLUMNS = (
    Column("worker", "name"),
    Column("queues", "queues", ",".join),
    Column("state", "state", style=lambda state: STYLES.get(state, "")),
    Column("up for", "up_seconds", span, right=True),
    number("leases", "leases"),
    Column("heard", "silent_seconds", lambda seconds: f"{span(seconds)} ago", right=True),
    number("succeeded", "succeeded"),
    number("failed", "failed"),
    Column("host", "host"),
    Column("pid", "pid", right=True),
)
NOBODY = "No worker is registered. `python -m workers` starts one."

workers = AppGroup("workers", help="Worker processes.")


@workers.command("list")
@AS_JSON
@in_sentences
def list_workers(as_json: bool) -> None:
    """Show the worker processes that are registered, and what they do."""
    now = datetime.now(UTC)
    rows = [_shown(worker, now) for worker in services().fleet.view()]
    print_rows(rows, COLUMNS, as_json=as_json, nothing=NOBODY)


def _shown(worker: WorkerView, now: datetime) -> dict[str, Any]:
    """As JSON values. Its state is RQ's word while it lives, and `dead` once it was not heard of for too long."""
    return {
        "name": worker.name,
        "queues": worker.queues,
        "state": worker.state if worker.alive else "dead",
        "started_at": instant(worker.started_at),
        "up_seconds": _seconds(worker.started_at, now),
        "heard_at": instant(worker.heard_at),
        "silent_seconds": _seconds(worker.heard_at, now),
        "leases": worker.leases,
        "succeeded": worker.succeeded,
        "failed": worker.failed,
        "host": worker.host,
        "pid": worker.pid,
    }


def _seconds(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else round(max((now - moment).total_seconds(), 0), 3)
