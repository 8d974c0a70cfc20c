"""Tasks."""

from __future__ import annotations

import re
from enum import StrEnum
from unicodedata import normalize
from uuid import UUID

from sqlalchemy import CheckConstraint, ColumnElement, Index, SmallInteger, cast, text
from sqlalchemy.dialects.postgresql import TSQUERY, TSVECTOR
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

WORD = re.compile(r"[^\W_]+")
LONGEST_WORD = 200
"""Letters of a word that count, in a text as in a search: PostgreSQL takes no words of any length."""


class Task(Base):
    """A task. Its id is the id of the job that made it, or follows from that job's and its place in the batch.

    `owner_id`: whose it is, which a client sees as `user_id`. `priority`: its rank. `overdue_at`: when it was found to be
    overdue, for the due date that it has now; null where it was not. `watched`: whether nobody has looked since it was
    due, whether it is overdue; so that no index has to know the status. `words`: what a search looks at (`words_of`).
    `version` counts what a client can see change.
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
    watched: Mapped[bool] = mapped_column(server_default="true")
    words: Mapped[str] = mapped_column(TSVECTOR, server_default="", deferred=True)

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
        # what is to be looked at when it is due
        Index("ix_tasks_due", "due_date", postgresql_where=text("watched AND due_date IS NOT NULL")),
        Index("ix_tasks_words", "words", postgresql_using="gin"),
        # room beside each row for its next version, which the indexes then need not hear of
        {"postgresql_with": {"fillfactor": "50"}},
    )


def words_of(title: str, description: str | None) -> str:
    """What a search looks at: the words of both, as PostgreSQL reads a tsvector. They are letters and digits, and so need no
    quotes."""
    return " ".join(set(_words(f"{title} {description or ''}")))


def found_by(search: str) -> ColumnElement[bool]:
    """Whether every word of a search begins a word of the task, in any order and case; where there is no word in it, no task
    is found."""
    wanted = " & ".join(f"{word}:*" for word in _words(search))
    return Task.words.bool_op("@@")(cast(wanted, TSQUERY))


def _words(text: str) -> list[str]:
    """The words of a text, alike however they were written: NFKC, full case folding (Unicode §3.13)."""
    folded = text.lower() if text.isascii() else normalize("NFKC", normalize("NFKC", text).casefold())
    return [word[:LONGEST_WORD] for word in WORD.findall(folded)]
