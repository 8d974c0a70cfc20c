"""Orders, the catalogue of services they ask for, and the rows that serialise the order timing rule."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, Numeric, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Instant, Key


class Service(Base):
    """One entry of the catalogue; migrations fill it."""

    __tablename__ = "services"

    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(Base):
    """An order. Its id is the id of the job that placed it.

    `created_at` and `updated_at` are effective moments (CONTRACT.md §4), never the time of the transaction;
    `earlier_updates` keeps the moments of updates before the last, which the timing rule also looks at.
    No foreign key to users: users are never removed, every worker looks the owner up before it writes, and the
    row lock such a key takes on a busy owner costs a tenth of the drain rate.
    """

    __tablename__ = "orders"

    id: Mapped[Key]
    owner_id: Mapped[UUID]
    customer_id: Mapped[str]
    services: Mapped[list[str]] = mapped_column(ARRAY(Text))
    total_fee: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    scheduled_for: Mapped[Instant | None]
    created_at: Mapped[Instant]
    updated_at: Mapped[Instant]
    earlier_updates: Mapped[list[datetime] | None] = mapped_column(ARRAY(DateTime(timezone=True)))
    version: Mapped[int] = mapped_column(server_default="1")

    __table_args__ = (
        CheckConstraint("total_fee >= 0", name="total_fee"),
        # a user's list, newest first, by keyset
        Index("ix_orders_owner", "owner_id", "created_at", "id"),
        # the timing rule in scope `customer`, and the filter on customer_id
        Index("ix_orders_customer", "owner_id", "customer_id", "updated_at"),
        # an admin's list, newest first, by keyset
        Index("ix_orders_created", "created_at", "id"),
        # the timing rule in scope `global`; rows arrive in this order, so a block range index costs next to nothing
        Index("ix_orders_updated", "updated_at", postgresql_using="brin"),
    )


class OrderScope(Base):
    """One row per scope of the timing rule: whoever holds its lock decides about that scope."""

    __tablename__ = "order_scopes"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    scope: Mapped[str] = mapped_column(primary_key=True)
