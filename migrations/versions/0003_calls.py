"""Calls, and the statuses that each has had

Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
OPEN = "'requested', 'dialing', 'unknown', 'queued', 'initiated', 'ringing', 'in_progress'"
FINAL = "'completed', 'busy', 'no_answer', 'failed', 'canceled', 'not_placed'"


def upgrade() -> None:
    calls()
    call_events()


def downgrade() -> None:
    op.drop_table("call_events")
    op.drop_table("calls")


def calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", UUID(), nullable=False),
        sa.Column("owner_id", UUID(), nullable=False),
        sa.Column("phone_number", sa.String(), nullable=False),
        sa.Column("customer_name", sa.String(), nullable=False),
        sa.Column("workflow", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("sid", sa.String()),
        sa.Column("guessed", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("duration", sa.Integer()),
        sa.Column("answered_by", sa.String()),
        sa.Column("asks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("asked_at", INSTANT),
        sa.Column("looked_at", INSTANT),
        sa.Column("missed_at", INSTANT),
        sa.Column("ended_by", UUID()),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calls"),
        sa.CheckConstraint(f"status IN ({OPEN}, {FINAL})", name=op.f("ck_calls_status")),
    )
    still_open = sa.text(f"status IN ({OPEN})")
    asked = sa.text("asked_at IS NOT NULL")
    op.create_index("uq_calls_open", "calls", ["owner_id", "phone_number"], unique=True, postgresql_where=still_open)
    op.create_index("ix_calls_sid", "calls", ["sid"])
    op.create_index("ix_calls_owner", "calls", ["owner_id", "created_at", "id"])
    op.create_index("ix_calls_created", "calls", ["created_at", "id"])
    op.create_index("ix_calls_status", "calls", ["status", "created_at", "id"])
    op.create_index("ix_calls_owner_asked", "calls", ["owner_id", "asked_at"], postgresql_where=asked)
    op.create_index("ix_calls_number_asked", "calls", ["phone_number", "asked_at"], postgresql_where=asked)
    op.create_index("ix_calls_open", "calls", ["updated_at"], postgresql_where=still_open)


def call_events() -> None:
    op.create_table(
        "call_events",
        sa.Column("call_id", UUID(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer()),
        sa.PrimaryKeyConstraint("call_id", "status", name="pk_call_events"),
    )
