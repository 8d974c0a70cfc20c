"""Users count their versions and can be listed; receipts hold what an outcome changes in Redis

Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.create_index(
        "ix_users_created", "users", ["created_at", "id"], postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.add_column("receipts", sa.Column("effects", JSONB()))


def downgrade() -> None:
    op.drop_column("receipts", "effects")
    op.drop_index("ix_users_created", "users")
    op.drop_column("users", "version")
