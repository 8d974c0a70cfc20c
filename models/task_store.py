"""Tasks in sets: locked, read and written in set-based SQL, for the workers that decide about them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from models.sets import add, array, fetch
from models.task import words_of
from models.views import ident, instant

NOTHING: frozenset[str] = frozenset()


@dataclass(slots=True)
class Entry:
    """One task as a worker has it in hand: a row of `tasks`, and what has become of it.

    `changed`: the columns that are not yet in the table as they are here.
    """

    id: UUID
    owner_id: UUID
    title: str
    description: str | None
    status: str
    priority: int
    due_date: datetime | None
    overdue_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int
    watched: bool = True
    stored: bool = True
    changed: frozenset[str] = NOTHING
    deleted: bool = False

    @property
    def words(self) -> str:
        """What a search looks at."""
        return words_of(self.title, self.description)

    def row(self, columns: Collection[str]) -> dict[str, Any]:
        """Some of the columns, as JSON that UPDATE takes."""
        return {name: getattr(self, name) for name in columns}

    def line(self) -> tuple[str | None, ...]:
        """The columns, as text."""
        return (
            ident(self.id),
            ident(self.owner_id),
            self.title,
            self.description,
            self.status,
            str(self.priority),
            instant(self.due_date),
            instant(self.overdue_at),
            instant(self.created_at),
            instant(self.updated_at),
            str(self.version),
            str(self.watched),
            self.words,
        )


def lock(session: Session, ids: Collection[UUID]) -> list[Entry]:
    """The tasks of these ids that there are, locked in order of their ids."""
    if not ids:
        return []
    known = {ident(task_id): task_id for task_id in ids}
    owner_of = cache(UUID)  # of many tasks, few owners
    rows = fetch(session, FIND_AND_LOCK, ids=array(list(known)))
    return [Entry(known[task_id], owner_of(owner), *more) for task_id, owner, *more in rows]


def write(session: Session, entries: Collection[Entry]) -> None:
    """Bring the table to what these entries say."""
    ordered = sorted(entries, key=lambda entry: entry.id.int)
    added = [entry for entry in ordered if not entry.stored and not entry.deleted]
    changed = [entry for entry in ordered if entry.stored and entry.changed and not entry.deleted]
    deleted = [entry for entry in ordered if entry.stored and entry.deleted]
    if added:
        add(session, "tasks", (*COLUMNS, "words"), [entry.line() for entry in added])
    if changed:
        named = NOTHING.union(*[entry.changed for entry in changed])
        columns = (*sorted(named), *(() if named.isdisjoint(WORDED) else ("words",)))
        rows = orjson.dumps([entry.row(("id", *columns)) for entry in changed]).decode()
        session.execute(_update(columns), {"rows": rows})
    if deleted:
        session.execute(DELETE, {"ids": array([ident(entry.id) for entry in deleted])})
    for entry in ordered:
        entry.stored, entry.changed = not entry.deleted, NOTHING


TYPES = {
    "id": "uuid",
    "owner_id": "uuid",
    "title": "text",
    "description": "text",
    "status": "text",
    "priority": "smallint",
    "due_date": "timestamptz",
    "overdue_at": "timestamptz",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "version": "int",
    "watched": "boolean",
}
COLUMNS = tuple(TYPES)
WORDED = {"title", "description"}
"""Columns that words are taken from."""

FIND_AND_LOCK = f"""
    SELECT CAST(id AS text), CAST(owner_id AS text), {", ".join(COLUMNS[2:])} FROM tasks
    WHERE id = ANY(CAST(%(ids)s AS uuid[])) ORDER BY id FOR UPDATE
    """
DELETE = text("DELETE FROM tasks WHERE id = ANY(CAST(:ids AS uuid[]))")


@cache
def _update(columns: tuple[str, ...]) -> TextClause:
    """Names no column that stays as it is: PostgreSQL would make anew its entries in indexes."""
    changes = ", ".join([f"{name} = new.{name}" for name in columns])
    typed = ", ".join([f"{name} {TYPES.get(name, 'tsvector')}" for name in ("id", *columns)])
    return text(
        f"""
        UPDATE tasks SET {changes} FROM json_to_recordset(CAST(:rows AS json)) AS new({typed})
        WHERE tasks.id = new.id
        """
    )
