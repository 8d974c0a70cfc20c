"""Dead letters from the command line: `flask --app api.app jobs dead …`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import click
import orjson
from flask.cli import AppGroup
from pydantic import ValidationError

from api.cli_audit import note
from api.cli_following import WAIT, follow
from api.cli_output import AS_JSON, Column, in_sentences, number, print_json, print_rows
from api.services import services
from api.user_rows import reasons
from jobs.dead_letters import DiscardLetters, LettersCommand, ReplayLetters
from jobs.kernel.dead_letters import payload, view
from jobs.kernel.errors import NotFound
from jobs.kernel.outcome import State
from jobs.kernel.rerun import DeadLetter
from jobs.kernel.submit import Submission, new_id
from jobs.kernel.times import read
from models.letter_store import Which
from models.views import ident

Command = TypeVar("Command", bound=Callable[..., Any])
NOBODY_WORKS = "No worker seems to be running: is there a `python -m workers --queues deliveries`? It is carried out when there is one."


class Moment(click.ParamType[datetime]):
    """A time as clients of the API write it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return read(value)
        except ValueError as wrong:
            self.fail(f"{wrong}.", param, ctx)


def narrowed(command: Command) -> Command:
    """The options that choose among dead letters."""
    for option in (
        click.option("--failed-before", type=Moment(), help="Only those that failed before this time."),
        click.option("--failed-after", type=Moment(), help="Only those that failed at this time or later."),
        click.option("--code", help="Only those whose error has this code."),
        click.option("--kind", help="Only failed jobs of this kind."),
    ):
        command = option(command)
    return command


COLUMNS = (
    Column("job", "id"),
    Column("kind", "kind"),
    Column("status", "status"),
    Column("error", "error", lambda error: str(error["code"])),
    Column("failed (UTC)", "failed_at", lambda value: f"{value[:10]} {value[11:19]}"),
    number("run", "run"),
    number("attempts", "attempts"),
)
FIELDS = (Column("field", "field"), Column("value", "value"))
IDS = click.argument("ids", nargs=-1, type=click.UUID, metavar="[ID]...")

dead = AppGroup("dead", help="Dead letters: failed jobs, to be run again or given up.")


@dead.command("list")
@narrowed
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100))
@AS_JSON
@in_sentences
def list_letters(limit: int, as_json: bool, **options: Any) -> None:
    """List failed jobs that nobody has discarded, those that failed last first."""
    letters = services().dead_letters.page(Which(**options), None, limit)
    live = services().ledger.live(letter.id for letter in letters)
    rows = [view(letter, live.get(letter.id)) for letter in letters]
    print_rows(rows, COLUMNS, as_json=as_json, nothing="No dead letters.")


@dead.command("show")
@click.argument("letter_id", type=click.UUID, metavar="ID")
@AS_JSON
@in_sentences
def show(letter_id: UUID, as_json: bool) -> None:
    """Show one, with what was sent, but for what is private."""
    letter = services().dead_letters.find(letter_id)
    if letter is None or letter.discarded_at is not None:
        raise NotFound("There is no such dead letter.")
    live = services().ledger.live([letter.id])
    shown = view(letter, live.get(letter.id)) | {"payload": payload(letter)}
    if as_json:
        print_json(shown)
    else:
        print_rows(_fields(letter, shown), FIELDS, as_json=False, nothing="")


def _fields(letter: DeadLetter, shown: dict[str, Any]) -> list[dict[str, Any]]:
    error = letter.error or {}
    fields = shown | {
        "error": f"{error.get('code')}: {error.get('detail')}",
        "links": None,
        "resource": letter.resource,
        "payload": orjson.dumps(shown["payload"]).decode() if letter.can_rerun else "nothing is left that could be run",
    }
    return [{"field": name, "value": value} for name, value in fields.items() if value is not None]


@dead.command("replay")
@IDS
@narrowed
@WAIT
@AS_JSON
@click.pass_context
@in_sentences
def replay(context: click.Context, /, ids: tuple[UUID, ...], wait: float, as_json: bool, **options: Any) -> None:
    """Run failed jobs again: these, or all that the options choose."""
    context.exit(_sent(_command(ReplayLetters, ids, options), wait, as_json))


@dead.command("discard")
@IDS
@narrowed
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@WAIT
@AS_JSON
@click.pass_context
@in_sentences
def discard(
    context: click.Context, /, ids: tuple[UUID, ...], yes: bool, wait: float, as_json: bool, **options: Any
) -> None:
    """Take failed jobs off the list for good: these, or all that the options choose. They cannot be run again."""
    command = _command(DiscardLetters, ids, options)
    if not yes:
        click.confirm("They cannot be run again then. Discard them?", abort=True, err=True)
    context.exit(_sent(command, wait, as_json))


def _command(kind: type[LettersCommand], ids: tuple[UUID, ...], options: dict[str, Any]) -> LettersCommand:
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return kind.model_validate(given | ({"ids": list(ids)} if ids else {}))
    except ValidationError as refused:
        raise click.UsageError(reasons(refused).removeprefix(": ")) from None


def _sent(command: LettersCommand, wait: float, as_json: bool) -> int:
    """Have a worker do it, and tell what came of it; 0 where that is all that was asked for."""
    job_id = new_id()
    services().submitter.submit(Submission(job_id, command, owner=None))
    which = command.model_dump(mode="json", exclude_unset=True, by_alias=True)
    note(f"{command.kind.replace('.', '_')}_asked", job_id=ident(job_id), which=which)
    job = follow([job_id], wait, "Dead letters").get(job_id)
    if job is None:
        raise click.ClickException(f"Nothing is known any more of job {job_id}.")
    shown = orjson.loads(orjson.dumps(job.view()))
    if as_json:
        print_json(shown)
    else:
        _say(shown, wait)
    counts = shown["result"] or {}
    if not job.state.final:
        return int(wait > 0)
    return int(job.state is not State.SUCCEEDED or counts["left"] > 0 or counts.get("skipped", 0) > 0)


def _say(job: dict[str, Any], wait: float) -> None:
    if job["result"]:
        click.echo(", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in job["result"].items()) + ".")
    elif job["error"]:
        click.echo(f"Job {job['id']} is {job['status']}: {job['error']['detail']}", err=True)
    else:
        click.echo(f"Job {job['id']} is {job['status']}.")
        if wait and job["status"] == "queued":
            click.echo(NOBODY_WORKS, err=True)
