"""Tasks."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ColumnElement, Computed, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Instant, Key


class Status(StrEnum):
    """What a client sees as a task's `status` (CONTRACT.md §6)."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


class Priority(StrEnum):
    """What a client sees as a task's `priority`, from the least on."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """How it is stored, so that it sorts: 0, 1 or 2."""
        return RANKS[self]


PRIORITIES = tuple(Priority)
RANKS = {priority: rank for rank, priority in enumerate(PRIORITIES)}

FOLDED = "regexp_replace(casefold(normalize({}, NFKC) COLLATE pg_unicode_fast), '[^[:alnum:]]+', ' ', 'g')"
"""A text as its words alone, a space between them: alike however they were written, whatever the database's locale is."""

WORDS = f"""
    to_tsvector('simple'::regconfig, {FOLDED.format("title || ' ' || coalesce(description, '')")})
"""
"""What a search looks at: the words of title and description."""

WANTED = f"""
    to_tsquery('simple'::regconfig, replace(nullif(btrim({FOLDED.format(":search")}), ''), ' ', ':* & ') || ':*')
"""
"""What a search looks for: each word of it as the beginning of one; nothing but words is left of it. Null where there is none."""

OPEN = "status <> 'completed'"


class Task(Base):
    """A task. Its id is the id of the job that made it, or follows from that job's and its place in the batch.

    `owner_id`: whose it is, which a client sees as `user_id`. `priority`: its rank. `overdue_at`: when it was found to be
    overdue, for the due date that it has now; null where it was not. `version` counts what a client can see change.
    """

    __tablename__ = "tasks"

    id: Mapped[Key]
    owner_id: Mapped[UUID]
    title: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)
    due_date: Mapped[Instant | None]
    overdue_at: Mapped[Instant | None]
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[Instant]
    updated_at: Mapped[Instant]
    words: Mapped[str] = mapped_column(TSVECTOR, Computed(WORDS, persisted=True), deferred=True)

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'in_progress', 'completed')", name="status"),
        CheckConstraint("priority BETWEEN 0 AND 2", name="priority"),
        # somebody's list in each of its orders, by keyset; and an admin's
        Index("ix_tasks_owner", "owner_id", "created_at", "id"),
        Index("ix_tasks_owner_due", "owner_id", "due_date", "id"),
        Index("ix_tasks_owner_priority", "owner_id", "priority", "id"),
        Index("ix_tasks_created", "created_at", "id"),
        Index("ix_tasks_all_due", "due_date", "id"),
        Index("ix_tasks_all_priority", "priority", "id"),
        # what is to be found overdue
        Index("ix_tasks_due", "due_date", postgresql_where=text(f"{OPEN} AND overdue_at IS NULL")),
        Index("ix_tasks_words", "words", postgresql_using="gin"),
    )


def found_by(search: str) -> ColumnElement[bool]:
    """Whether every word of a search begins a word of the task, in any order and case; where there is no word in it, no task
    is found."""
    return Task.words.bool_op("@@")(text(WANTED).bindparams(search=search))
