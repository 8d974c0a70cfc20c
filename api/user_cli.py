"""Users from the command line: `flask --app api.app users …`. They become jobs as all writes do; a worker adds them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from flask.cli import AppGroup
from pydantic import ValidationError

from api.services import services
from api.user_import import ENDING, Fate, Told, imported
from api.user_rows import BadHeaderError, Row, Wrong, reasons, rows
from jobs.users import ImportUser
from models.session import DATABASE_ERRORS

PATIENCE = click.option(
    "--wait",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds without any outcome to give up after.",
)
NOBODY_WORKS = (
    "No worker seems to be running: is there a `python -m workers --queues users`? What is queued is carried out when "
    "there is one."
)

users = AppGroup("users", help="People who sign in.")


@users.command("create-admin")
@click.option("--email", required=True)
@click.option("--name", help="By default what stands before the @ of the email.")
@click.option("--password", help="By default asked for, or read from standard input where that is no terminal.")
@PATIENCE
def create_admin(email: str, name: str | None, password: str | None, wait: float) -> None:
    """Add a user of role admin."""
    given = {"email": email, "role": "admin", "password": _asked() if password is None else password}
    try:
        command = ImportUser.model_validate(given if name is None else given | {"name": name})
    except ValidationError as refused:
        raise click.ClickException(reasons(refused)) from None
    (told,) = _imported([Row(1, command)], wait)
    match told.fate:
        case Fate.IMPORTED:
            click.echo(f"{command.email} is an admin now.")
        case Fate.QUEUED:
            raise click.ClickException(f"{NOBODY_WORKS} It is {told.detail}.")
        case _:
            raise click.ClickException(told.detail)


@users.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@PATIENCE
@click.pass_context
def import_file(context: click.Context, file: Path, wait: float) -> None:
    """Add users from a CSV FILE.

    Its first line is email,password,role or email,password,role,name. Who is there already is skipped, so that it can be
    run again.
    """
    fates: Counter[Fate] = Counter()
    try:
        for told in _imported(rows(file), wait):
            fates[told.fate] += 1
            if told.fate is not Fate.IMPORTED:
                click.echo(f"line {told.line}: {told.fate}: {told.detail}")
    except BadHeaderError as wrong:
        raise click.ClickException(str(wrong)) from None
    click.echo(", ".join(f"{fates[fate]} {fate}" for fate in Fate) + ".")
    if fates[Fate.QUEUED]:
        click.echo(NOBODY_WORKS, err=True)
    if fates.keys() & ENDING:
        click.echo("The rest of the file was left alone. Run this again: who is there already is skipped.", err=True)
    context.exit(int(not fates.keys() <= {Fate.IMPORTED, Fate.SKIPPED}))


def _asked() -> str:
    """The password of who is at the terminal, who types it twice and unseen; or the first line of what is piped in."""
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return typed
    return sys.stdin.readline().rstrip("\r\n")


def _imported(given: Iterable[Row | Wrong], wait: float) -> Iterator[Told]:
    try:
        yield from imported(services(), given, wait)
    except DATABASE_ERRORS:
        raise click.ClickException("The database cannot be reached. Running this again is safe.") from None
