"""Sets of rows, from and to PostgreSQL, in a session's transaction: by the driver itself, because what a session adds to
a statement costs a single job as much as PostgreSQL does.

New rows go in by INSERT where they are few, in one round trip; many by COPY, at half of what it costs PostgreSQL.
All raise DBAPIError, as the session itself does; of a connection that was lost, it lets go.

Source of COPY's text format: https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import psycopg2
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

FEW = 8
"""Up to so many rows, the second round trip of a COPY costs more than it saves."""

AT_ONCE = 1 << 20
"""Bytes handed to libpq in one call."""


def fetch(session: Session, query: str, **values: Any) -> list[tuple[Any, ...]]:
    """The rows of a query, in which %(name)s stands for a value."""
    with _cursor(session) as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def add(session: Session, table: str, columns: Sequence[str], rows: Sequence[tuple[str | None, ...]]) -> None:
    """Add rows to a table; values are text as PostgreSQL reads it, None is NULL."""
    with _cursor(session) as cursor:
        if len(rows) <= FEW:
            places = ", ".join([f"${at}" for at in range(1, len(columns) + 1)])
            insert = prepared(session, f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})")
            one = f"{insert} ({', '.join(['%s'] * len(columns))});"
            cursor.execute(one * len(rows), [value for row in rows for value in row])
        else:
            statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
            cursor.copy_expert(statement, BytesIO(_lines(rows, len(columns)).encode()), AT_ONCE)


def prepared(session: Session, statement: str) -> str:
    """What stands for a statement, with $1, $2 and so on for its values, that PostgreSQL has planned once and for all of
    this connection's time: `EXECUTE name`, without the values.

    For statements that leave nothing to choose, like adding a row: a choice that was made when a table was empty would
    be kept when it is large.
    """
    names: dict[str, str] = session.connection().info.setdefault("prepared", {})
    if statement not in names:
        name = f"prepared_{len(names)}"
        with _cursor(session) as cursor:
            cursor.execute(f"PREPARE {name} AS {statement}")
        names[statement] = name
    return f"EXECUTE {names[statement]}"


def array(values: Sequence[str] | None) -> str | None:
    """An array of text, as PostgreSQL reads it."""
    if values is None:
        return None
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


@contextmanager
def _cursor(session: Session) -> Iterator[Any]:
    raw = session.connection().connection
    cursor = raw.cursor()
    try:
        yield cursor
    except psycopg2.Error as error:
        lost = bool(raw.closed)
        if lost:
            session.invalidate()
        raise DBAPIError.instance(
            None, None, error, psycopg2.Error, hide_parameters=True, connection_invalidated=lost
        ) from error
    finally:
        cursor.close()


def _lines(rows: Sequence[tuple[str | None, ...]], columns: int) -> str:
    """Rows as text. Where all of it holds no more of what has a meaning than it has to, nothing need be escaped."""
    lines = "\n".join(["\t".join(["\\N" if value is None else value for value in row]) for row in rows])
    ends, tabs, nothings = len(rows) - 1, len(rows) * (columns - 1), sum([row.count(None) for row in rows])
    if (lines.count("\n"), lines.count("\t"), lines.count("\\"), lines.count("\r")) != (ends, tabs, nothings, 0):
        return "\n".join(["\t".join(["\\N" if value is None else _escaped(value) for value in row]) for row in rows])
    return lines


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
