"""Tasks, events, the outbox; receipts say how far a job with many items has come

Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR, UUID

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    tasks()
    events()
    outbox()
    op.add_column("receipts", sa.Column("progress", JSONB()))
    op.alter_column("receipts", "result", type_=sa.JSON(), postgresql_using="result::json")


def downgrade() -> None:
    op.alter_column("receipts", "result", type_=JSONB(), postgresql_using="result::jsonb")
    op.drop_column("receipts", "progress")
    for table in ("outbox", "events", "tasks"):
        op.drop_table(table)


def tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", UUID(), nullable=False),
        sa.Column("owner_id", UUID(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("description", sa.String()),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("due_date", INSTANT),
        sa.Column("overdue_at", INSTANT),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("watched", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("words", TSVECTOR(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        sa.CheckConstraint("status IN ('pending', 'in_progress', 'completed')", name=op.f("ck_tasks_status")),
        sa.CheckConstraint("priority BETWEEN 0 AND 2", name=op.f("ck_tasks_priority")),
        postgresql_with={"fillfactor": "50"},
    )
    watched = sa.text("watched AND due_date IS NOT NULL")
    op.create_index("ix_tasks_owner", "tasks", ["owner_id", "created_at", "id"])
    op.create_index("ix_tasks_owner_due", "tasks", ["owner_id", "due_date", "id"])
    op.create_index("ix_tasks_owner_priority", "tasks", ["owner_id", "priority", "id"])
    op.create_index("ix_tasks_created", "tasks", ["created_at", "id"])
    op.create_index("ix_tasks_all_due", "tasks", ["due_date", "id"])
    op.create_index("ix_tasks_all_priority", "tasks", ["priority", "id"])
    op.create_index("ix_tasks_due", "tasks", ["due_date"], postgresql_where=watched)
    op.create_index("ix_tasks_words", "tasks", ["words"], postgresql_using="gin")


def events() -> None:
    op.create_table(
        "events",
        sa.Column("id", UUID(), nullable=False),
        sa.Column("owner_id", UUID(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("delivery", sa.String(), nullable=False),
        sa.Column("delivered_at", INSTANT),
        sa.Column("reason", sa.String()),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("recorded_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.CheckConstraint(
            "delivery IN ('none', 'pending', 'delivered', 'failed')", name=op.f("ck_events_delivery")
        ),
    )
    pending = sa.text("delivery = 'pending'")
    op.create_index("ix_events_owner", "events", ["owner_id", "created_at", "id"])
    op.create_index("ix_events_created", "events", ["created_at", "id"])
    op.create_index("ix_events_pending", "events", ["recorded_at"], postgresql_where=pending)


def outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("owner_id", UUID(), nullable=False),
        sa.Column("subject_id", UUID(), nullable=False),
        sa.Column("payload", JSONB(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("sent_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_unsent", "outbox", ["id"], postgresql_where=sa.text("sent_at IS NULL"))
