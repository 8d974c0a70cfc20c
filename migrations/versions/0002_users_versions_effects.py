"""Users count their versions, can be listed, and have emails that compare alike in every locale; receipts hold what an outcome changes in Redis

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
    unique_email("lower(email COLLATE pg_c_utf8)")
    op.add_column("receipts", sa.Column("effects", JSONB()))


def downgrade() -> None:
    op.drop_column("receipts", "effects")
    unique_email("lower(email)")
    op.drop_index("ix_users_created", "users")
    op.drop_column("users", "version")


def unique_email(compared: str) -> None:
    """Emails of users that are there are unique, compared so."""
    op.drop_index("uq_users_email", "users")
    op.create_index(
        "uq_users_email", "users", [sa.text(compared)], unique=True, postgresql_where=sa.text("deleted_at IS NULL")
    )
