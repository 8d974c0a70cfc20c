"""The outbox: what is to be told to somebody, written down in the transaction that made it true."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Instant, NewKey


class Notice(Base):
    """One thing to tell. `kind`: what happened, `task.overdue`; `subject_id`: to what; `owner_id`: whose it is; `payload`: how it
    looked then. `sent_at`: null as long as nobody has been told."""

    __tablename__ = "outbox"

    id: Mapped[NewKey]
    kind: Mapped[str]
    owner_id: Mapped[UUID]
    subject_id: Mapped[UUID]
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[Instant]
    sent_at: Mapped[Instant | None]

    __table_args__ = (
        # what is still to be sent, in order
        Index("ix_outbox_unsent", "id", postgresql_where=text("sent_at IS NULL")),
        # what was sent, in order of when
        Index("ix_outbox_sent", "sent_at", "id", postgresql_where=text("sent_at IS NOT NULL")),
    )
