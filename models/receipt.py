"""Receipts: the outcome of every job, committed together with its effect."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import JSON, CheckConstraint, ColumnElement, Index, and_, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Instant, Key


class Receipt(Base):
    """The outcome of record of one job. Whoever inserts the row holds the claim to the job's effect.

    `id` is the job's id. `run` counts explicit retries of a failed job, from 1. `resource` is the path the job is
    about. `effects`: what the outcome changes in Redis, applied by whoever tells it (`jobs.kernel.effects`).
    `result`: as it was told, to the letter; nobody looks into it here. `progress`: `{done, total}` of a job with many items.
    `envelope` is kept of failed jobs only, so that they can be run again. `discarded_at`: when somebody took it off the
    list of dead letters; it cannot be run again then.
    """

    __tablename__ = "receipts"

    id: Mapped[Key]
    owner_id: Mapped[UUID | None]
    kind: Mapped[str]
    state: Mapped[str]
    run: Mapped[int]
    attempts: Mapped[int]
    fingerprint: Mapped[str | None]
    resource: Mapped[str | None]
    submitted_at: Mapped[Instant]
    run_at: Mapped[Instant | None]
    started_at: Mapped[Instant | None]
    finished_at: Mapped[Instant]
    result: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    effects: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    progress: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))
    envelope: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    discarded_at: Mapped[Instant | None]

    @classmethod
    def there(cls) -> ColumnElement[bool]:
        """As a resource of its own, it is a dead letter."""
        return and_(cls.state == "failed", cls.discarded_at.is_(None))

    __table_args__ = (
        CheckConstraint("state IN ('succeeded', 'rejected', 'failed', 'canceled')", name="state"),
        # a user's jobs, newest first, by keyset
        Index("ix_receipts_owner", "owner_id", "submitted_at", "id"),
        # an admin's list of all jobs, newest first, by keyset
        Index("ix_receipts_submitted", "submitted_at", "id"),
        # dead letters, newest first, by keyset; and how many of each kind there are
        Index(
            "ix_receipts_dead",
            "finished_at",
            "id",
            postgresql_where=text("state = 'failed' AND discarded_at IS NULL"),
            postgresql_include=["kind"],
        ),
    )
