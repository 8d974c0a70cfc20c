"""Users in sets: locked, read and written in set-based SQL, for the workers that decide about them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from models.sets import add, array, fetch
from models.user import folded
from models.views import ident, instant

CLAIMS = 0x5573_6572  # "User": a number that no other advisory lock of ours has


@dataclass(slots=True)
class Entry:
    """One user as a worker has them in hand: a row of `users`, and what has become of it.

    `folded`: the email as it is compared. `held`: what the row holds so that nobody else can have it; None for nothing.
    """

    id: UUID
    email: str
    name: str
    password_hash: str
    role: str
    session_version: int
    version: int
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None
    deleted_at: datetime | None
    folded: str
    held: str | None = None
    stored: bool = True
    changed: bool = False

    @property
    def holds(self) -> str | None:
        """What nobody else can have while this user is there."""
        return None if self.deleted_at else self.folded

    def row(self) -> dict[str, Any]:
        """The columns, as JSON that UPDATE takes."""
        return {name: getattr(self, name) for name in COLUMNS}

    def line(self) -> tuple[str | None, ...]:
        """The columns, as text."""
        return (
            ident(self.id),
            self.email,
            self.name,
            self.password_hash,
            self.role,
            str(self.session_version),
            str(self.version),
            instant(self.created_at),
            instant(self.updated_at),
            instant(self.disabled_at),
            instant(self.deleted_at),
        )


def claim(session: Session, emails: Collection[str]) -> tuple[dict[str, str], set[UUID]]:
    """Let no other transaction claim emails until this one ends. Returns these emails as they are compared, and the ids
    of those users who have one of them now."""
    rows = fetch(session, CLAIM, lock=CLAIMS, emails=array(sorted(emails)))
    return {email: folded for email, folded, _ in rows}, {UUID(holder) for *_, holder in rows if holder}


def lock(session: Session, ids: Collection[UUID]) -> list[Entry]:
    """The users of these ids that there are or were, locked in order of their ids."""
    if not ids:
        return []
    found = [Entry(*row) for row in fetch(session, FIND_AND_LOCK, ids=[ident(user_id) for user_id in ids])]
    for entry in found:
        entry.held = entry.holds
    return found


def there(session: Session, ids: Collection[UUID]) -> set[UUID]:
    """Those of these ids whose users there are, and are not deleted."""
    return {found for (found,) in fetch(session, THERE, ids=[ident(user_id) for user_id in ids])} if ids else set()


def write(session: Session, entries: Collection[Entry]) -> None:
    """Bring the table to what the entries say."""
    ordered = sorted(entries, key=lambda entry: entry.id.int)
    changed = [entry for entry in ordered if entry.stored and entry.changed]
    freed = [entry.id for entry in changed if entry.held not in (None, entry.holds)]
    if freed:
        session.execute(FREE, {"ids": freed})
    if changed:
        session.execute(UPDATE, {"rows": orjson.dumps([entry.row() for entry in changed]).decode()})
    if added := [entry.line() for entry in ordered if not entry.stored]:
        add(session, "users", COLUMNS, added)


COLUMNS = (
    "id",
    "email",
    "name",
    "password_hash",
    "role",
    "session_version",
    "version",
    "created_at",
    "updated_at",
    "disabled_at",
    "deleted_at",
)
NAMES = ", ".join(COLUMNS)
TYPED = (
    "id uuid, email text, name text, password_hash text, role text, session_version int, version int, "
    "created_at timestamptz, updated_at timestamptz, disabled_at timestamptz, deleted_at timestamptz"
)

# Two statements in one message; the second has a snapshot of its own, from after the lock was granted.
CLAIM = f"""
    SELECT pg_advisory_xact_lock(%(lock)s);
    SELECT asked.email, {folded("asked.email")}, CAST(users.id AS text)
    FROM unnest(CAST(%(emails)s AS text[])) AS asked(email)
    LEFT JOIN users ON {folded("users.email")} = {folded("asked.email")} AND users.deleted_at IS NULL
    """
FIND_AND_LOCK = f"""
    SELECT {NAMES}, {folded("email")} FROM users WHERE id = ANY(CAST(%(ids)s AS uuid[])) ORDER BY id FOR UPDATE
    """

THERE = "SELECT id FROM users WHERE id = ANY(CAST(%(ids)s AS uuid[])) AND deleted_at IS NULL"

# An UPDATE looks for duplicates row by row: two users who exchange their emails would be in each other's way, and who
# takes the email of a deleted one in theirs. What is given up is given up first.
FREE = text("UPDATE users SET email = CAST(id AS text) WHERE id = ANY(CAST(:ids AS uuid[]))")
UPDATE = text(
    f"""
    UPDATE users SET
        email = new.email, name = new.name, password_hash = new.password_hash, role = new.role,
        session_version = new.session_version, version = new.version, updated_at = new.updated_at,
        disabled_at = new.disabled_at, deleted_at = new.deleted_at
    FROM json_to_recordset(CAST(:rows AS json)) AS new({TYPED})
    WHERE users.id = new.id
    """
)
