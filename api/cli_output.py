"""What commands print: a table for people, or with `--json` one document for programs; and sentences where a server is away.

A command of operations takes `@AS_JSON`, and `@in_sentences` next to its function. It makes rows, JSON values under keys
that stay as they are, and hands them to `print_rows` or `print_row` with the columns that people see of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.kernel import broker
from jobs.kernel.errors import AppError
from models.session import DATABASE_ERRORS

Row = Mapping[str, Any]
Given = ParamSpec("Given")
Answer = TypeVar("Answer")

AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")

WIDE = 1000
"""Columns of what is no terminal: nothing is folded there, so that a line stays a line."""


@dataclass(frozen=True, slots=True)
class Column:
    """What people see of a row. `key`: its member, with dots between those of objects in it. `show`: how a value reads; null
    reads as a dash. `right`: numbers stand so. `style`: rich's, by value."""

    title: str
    key: str
    show: Callable[[Any], str] = str
    right: bool = False
    style: Callable[[Any], str] | None = None


def number(title: str, key: str) -> Column:
    """A column of numbers."""
    return Column(title, key, lambda value: f"{value:,}", right=True)


def print_rows(
    rows: Sequence[Row], columns: Sequence[Column], *, as_json: bool, nothing: str = "None.", meta: Row | None = None
) -> None:
    """Print a table, or `{"data": [row, ...]}`. `nothing`: for people, where there are no rows. `meta`: what programs are told
    beside them."""
    if as_json:
        print_json({"data": rows} | ({"meta": meta} if meta else {}))
    elif not rows:
        click.echo(nothing)
    else:
        _print_table(rows, columns)


def print_row(row: Row, columns: Sequence[Column], *, as_json: bool) -> None:
    """Print a table of one row, or that row."""
    if as_json:
        print_json(row)
    else:
        _print_table([row], columns)


def print_json(document: object) -> None:
    """Print one document."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def span(seconds: float) -> str:
    """A length of time as people say it: `0.4 s`, `52 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(place for place, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def in_sentences(command: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Say in a sentence, and by exit status 1, that a server is away, or refuses: nobody at a command line wants a trace."""

    @wraps(command)
    def told(*given: Given.args, **named: Given.kwargs) -> Answer:
        try:
            return command(*given, **named)
        except AppError as refused:
            raise click.ClickException(refused.detail) from None
        except BrokenPipeError:
            raise  # whoever read this has gone
        except DATABASE_ERRORS as away:
            raise click.ClickException(f"PostgreSQL cannot be reached, or refuses. {why(away)}") from None
        except (*broker.LOST, broker.ResponseError) as away:
            raise click.ClickException(f"Redis cannot be reached, or refuses. {why(away)}") from None

    return told


def why(error: Exception) -> str:
    """The first line of what a server, or the way to it, said; where that was nothing, the kind of error."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    return said[0] if said else type(error).__name__


def _print_table(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left")
    for row in rows:
        table.add_row(*(_cell(row, column) for column in columns))
    with console.capture() as printed:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def _cell(row: Row, column: Column) -> Text:
    """A value as text, never as markup; what a terminal would obey is replaced."""
    value: Any = row
    for member in column.key.split("."):
        value = value[member]
    text = "-" if value is None else column.show(value)
    plain = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return Text(plain, style=column.style(value) if column.style else "")
