"""Tasks."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, SmallInteger, text
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

WORDS = """
    to_tsvector('simple'::regconfig, lower(regexp_replace(
        title || ' ' || coalesce(description, ''), '[^[:alnum:]]+' COLLATE pg_c_utf8, ' ', 'g'
    ) COLLATE pg_c_utf8))
"""
"""What a search looks at: the words of title and description as they stand there, whatever the database's locale is."""

OPEN = "status <> 'completed'"
LAST, FIRST = "coalesce(due_date, 'infinity')", "coalesce(due_date, '-infinity')"
"""Due dates as they are sorted by, upwards and downwards: those that have none come last both times."""


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
        # a user's list in each of its orders, by keyset; and an admin's, newest first
        Index("ix_tasks_owner", "owner_id", "created_at", "id"),
        Index("ix_tasks_owner_due", "owner_id", text(LAST), "id"),
        Index("ix_tasks_owner_priority", "owner_id", "priority", "id"),
        Index("ix_tasks_created", "created_at", "id"),
        # what is to be found overdue
        Index("ix_tasks_due", "due_date", postgresql_where=text(f"{OPEN} AND overdue_at IS NULL")),
        Index("ix_tasks_words", "words", postgresql_using="gin"),
    )
