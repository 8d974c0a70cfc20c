"""Adding new rows: a few by INSERT, in one round trip; many by COPY, at half of what it costs PostgreSQL.

Source of COPY's text format: https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from io import BytesIO

import psycopg2
from sqlalchemy.orm import Session

FEW = 8
"""Up to so many rows, the second round trip of a COPY costs more than it saves."""

AT_ONCE = 1 << 20
"""Bytes handed to libpq in one call."""


def add(session: Session, table: str, columns: Sequence[str], rows: Sequence[tuple[str | None, ...]]) -> None:
    """Add rows to a table in the session's transaction; values are text as PostgreSQL reads it, None is NULL.

    Raises psycopg2.Error; of a connection that was lost, the session lets go.
    """
    raw = session.connection().connection
    try:
        with closing(raw.cursor()) as cursor:
            if len(rows) <= FEW:
                row = f"({', '.join(['%s'] * len(columns))})"
                statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * len(rows))}"
                cursor.execute(statement, [value for row in rows for value in row])
            else:
                statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
                cursor.copy_expert(statement, BytesIO(_lines(rows, len(columns)).encode()), AT_ONCE)
    except psycopg2.Error:
        if raw.closed:
            session.invalidate()
        raise


def array(values: Sequence[str] | None) -> str | None:
    """An array of text, as PostgreSQL reads it."""
    if values is None:
        return None
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def _lines(rows: Sequence[tuple[str | None, ...]], columns: int) -> str:
    """Rows as text. Where all of it holds no more of what has a meaning than it has to, nothing need be escaped."""
    lines = "\n".join(["\t".join(["\\N" if value is None else value for value in row]) for row in rows])
    ends, tabs, nothings = len(rows) - 1, len(rows) * (columns - 1), sum([row.count(None) for row in rows])
    if (lines.count("\n"), lines.count("\t"), lines.count("\\"), lines.count("\r")) != (ends, tabs, nothings, 0):
        return "\n".join(["\t".join(["\\N" if value is None else _escaped(value) for value in row]) for row in rows])
    return lines


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
