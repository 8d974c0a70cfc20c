"""COPY: the way in for many new rows, at half of what an INSERT of the same rows costs PostgreSQL.

Source of the text format: https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from io import StringIO

import psycopg2
from sqlalchemy.orm import Session


def copy(session: Session, table: str, columns: Sequence[str], rows: Iterable[tuple[str | None, ...]]) -> None:
    """Add rows to a table in the session's transaction; values are text as PostgreSQL reads it, None is NULL.

    Raises psycopg2.Error; of a connection that was lost, the session lets go.
    """
    raw = session.connection().connection
    try:
        with closing(raw.cursor()) as cursor:
            cursor.copy_expert(
                f"COPY {table} ({', '.join(columns)}) FROM STDIN", StringIO("".join([_line(row) for row in rows]))
            )
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


def _line(row: tuple[str | None, ...]) -> str:
    """A row. What holds no more backslashes and tabs than it has to, and no ends of lines, need not be escaped."""
    line = "\t".join(["\\N" if value is None else value for value in row])
    plain = line.count("\\") == row.count(None) and line.count("\t") == len(row) - 1
    if not plain or "\n" in line or "\r" in line:
        line = "\t".join(["\\N" if value is None else _escaped(value) for value in row])
    return line + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
