"""Users, the catalogue of services, orders with their timing scopes, and receipts

Revises: nothing; this is the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    users()
    services()
    orders()
    order_scopes()
    receipts()


def downgrade() -> None:
    for table in ("receipts", "order_scopes", "orders", "services", "users"):
        op.drop_table(table)


def users() -> None:
    op.create_table(
        "users",
        sa.Column("id", UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("role", sa.String(), server_default="user", nullable=False),
        sa.Column("session_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("disabled_at", INSTANT),
        sa.Column("deleted_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.CheckConstraint("role IN ('user', 'admin')", name=op.f("ck_users_role")),
    )
    # emails compare without case; that of a deleted user can be used again
    op.create_index(
        "uq_users_email", "users", [sa.text("lower(email)")], unique=True, postgresql_where=sa.text("deleted_at IS NULL")
    )


def services() -> None:
    catalogue = op.create_table(
        "services",
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("code", name="pk_services"),
    )
    op.bulk_insert(
        catalogue,
        [
            {"code": "123", "name": "Inspection"},
            {"code": "456", "name": "Analysis"},
            {"code": "789", "name": "Testing"},
        ],
    )


def orders() -> None:
    op.create_table(
        "orders",
        sa.Column("id", UUID(), nullable=False),
        sa.Column("owner_id", UUID(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("services", ARRAY(sa.Text()), nullable=False),
        sa.Column("total_fee", sa.Numeric(12, 2), nullable=False),
        sa.Column("scheduled_for", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("earlier_updates", ARRAY(INSTANT)),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.CheckConstraint("total_fee >= 0", name=op.f("ck_orders_total_fee")),
    )
    op.create_index("ix_orders_owner", "orders", ["owner_id", "created_at", "id"])
    op.create_index("ix_orders_customer", "orders", ["owner_id", "customer_id", "updated_at"])
    op.create_index("ix_orders_created", "orders", ["created_at", "id"])
    op.create_index("ix_orders_updated", "orders", ["updated_at"], postgresql_using="brin")


def order_scopes() -> None:
    op.create_table(
        "order_scopes",
        sa.Column("scope", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name="pk_order_scopes"),
        postgresql_with={"fillfactor": "50"},
    )


def receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("id", UUID(), nullable=False),
        sa.Column("owner_id", UUID()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String()),
        sa.Column("resource", sa.String()),
        sa.Column("submitted_at", INSTANT, nullable=False),
        sa.Column("run_at", INSTANT),
        sa.Column("started_at", INSTANT),
        sa.Column("finished_at", INSTANT, nullable=False),
        sa.Column("result", JSONB()),
        sa.Column("error", JSONB()),
        sa.Column("envelope", JSONB()),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
        sa.CheckConstraint(
            "state IN ('succeeded', 'rejected', 'failed', 'canceled')", name=op.f("ck_receipts_state")
        ),
    )
    op.create_index("ix_receipts_owner", "receipts", ["owner_id", "submitted_at", "id"])
    op.create_index("ix_receipts_submitted", "receipts", ["submitted_at", "id"])
