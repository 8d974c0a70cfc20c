"""Dead letters can be taken off their list; indexes of that list, and of notices that were sent

The column is null in every row, so none is written: `receipts` is locked for the moment that this takes. The indexes are
made concurrently: whoever reads or writes meanwhile is kept waiting by neither, however many rows there are; only the
migration waits, until all transactions that had begun before it have ended. So this is not one transaction: where it was
broken off, it begins again with what that left.

Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("receipts", sa.Column("discarded_at", INSTANT), if_not_exists=True)
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # nobody waits for who waits here
        dead = "state = 'failed' AND discarded_at IS NULL"
        concurrently("ix_receipts_dead", "receipts", ["finished_at", "id"], dead, ["kind"])
        concurrently("ix_outbox_sent", "outbox", ["sent_at", "id"], "sent_at IS NOT NULL")
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    op.drop_index("ix_outbox_sent", "outbox")
    op.drop_index("ix_receipts_dead", "receipts")
    op.drop_column("receipts", "discarded_at")


def concurrently(name: str, table: str, columns: list[str], where: str, include: list[str] | None = None) -> None:
    """Make an index of some rows. One of that name that was not finished is of no use, and has to go first."""
    op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
    op.create_index(
        name, table, columns, postgresql_where=sa.text(where), postgresql_include=include, postgresql_concurrently=True
    )
