"""Events: what clients have told us of."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Instant, Key


class Delivery(StrEnum):
    """Whether an event has gone to the event sink (CONTRACT.md §7). `NONE`: there was no sink when it was recorded."""

    NONE = "none"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Event(Base):
    """An event. Its id is the id of the job that recorded it, and what the sink knows it by.

    `owner_id`: whom it is about, which a client sees as `user_id`. `reason`: why it could not be delivered.
    `recorded_at`: when it was written down; `created_at` is its effective moment. `version` counts what a client can see.
    """

    __tablename__ = "events"

    id: Mapped[Key]
    owner_id: Mapped[UUID]
    name: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    delivery: Mapped[str]
    delivered_at: Mapped[Instant | None]
    reason: Mapped[str | None]
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[Instant]
    recorded_at: Mapped[Instant] = mapped_column(server_default=text("now()"))

    __table_args__ = (
        CheckConstraint("delivery IN ('none', 'pending', 'delivered', 'failed')", name="delivery"),
        # somebody's list, newest first, by keyset; and an admin's
        Index("ix_events_owner", "owner_id", "created_at", "id"),
        Index("ix_events_created", "created_at", "id"),
        # what is still to be delivered
        Index("ix_events_pending", "recorded_at", postgresql_where=text("delivery = 'pending'")),
    )
