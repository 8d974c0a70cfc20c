"""Queues from the command line: `flask --app api.app queues …`."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from api.cli_output import AS_JSON, Column, in_sentences, number, print_row, print_rows, span
from api.services import services
from jobs.kernel.policy import QUEUES
from jobs.kernel.queues import QueueView

NAME = click.argument("name", type=click.Choice(list(QUEUES)), metavar="NAME")
COLUMNS = (
    Column("queue", "name"),
    Column("way", "way"),
    Column("paused", "paused", lambda so: "paused" if so else "", style=lambda so: "yellow" if so else ""),
    number("depth", "depth"),
    number("high", "depth_by_priority.high"),
    number("normal", "depth_by_priority.normal"),
    number("low", "depth_by_priority.low"),
    Column("oldest", "oldest_age_seconds", span, right=True),
    number("running", "running"),
    number("done/min", "done_per_minute"),
    number("failed/min", "failed_per_minute"),
    number("failed ever", "totals.failed"),
    Column("workers", "workers", right=True, style=lambda count: "" if count else "red"),
)

queues = AppGroup("queues", help="Queues: how they stand; pause and resume them.")


@queues.command("list")
@AS_JSON
@in_sentences
def list_queues(as_json: bool) -> None:
    """Show how each queue stands."""
    overview = services().queues.view()
    rows, meta = [queue.shown() for queue in overview.queues], {"scheduled": overview.scheduled}
    print_rows(rows, COLUMNS, as_json=as_json, meta=meta)
    if overview.scheduled and not as_json:
        click.echo(f"{overview.scheduled:,} more wait for a time.")


@queues.command("pause")
@NAME
@AS_JSON
@in_sentences
def pause(name: str, as_json: bool) -> None:
    """Have workers take no more from a queue, until it is resumed; it accepts as ever."""
    services().queues.pause(name)
    _show(services().queues.one(name), as_json)


@queues.command("resume")
@NAME
@AS_JSON
@in_sentences
def resume(name: str, as_json: bool) -> None:
    """Have workers take from a queue again."""
    services().queues.resume(name)
    _show(services().queues.one(name), as_json)


def _show(queue: QueueView, as_json: bool) -> None:
    print_row(queue.shown(), COLUMNS, as_json=as_json)
