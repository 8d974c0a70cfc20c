"""People who sign in."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column, synonym

from models.base import Base, Instant, NewKey


def folded(email: str) -> str:
    """SQL for an email as it is compared, whatever the database's locale is: each letter in its simple lower case."""
    return f"lower({email} COLLATE pg_c_utf8)"


class User(Base):
    """A person; never removed from the table, so that what they own keeps its owner (`deleted_at` marks the end).

    Emails compare without case. `session_version` is also in every token: raising it ends all sessions at once. `version`
    counts what a client can see change.
    """

    __tablename__ = "users"

    id: Mapped[NewKey]
    email: Mapped[str]
    name: Mapped[str]
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(server_default="user")
    session_version: Mapped[int] = mapped_column(server_default="1")
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[Instant] = mapped_column(server_default=text("now()"))
    updated_at: Mapped[Instant] = mapped_column(server_default=text("now()"))
    disabled_at: Mapped[Instant | None]
    deleted_at: Mapped[Instant | None]

    owner_id = synonym("id")  # everybody is their own

    __table_args__ = (
        CheckConstraint("role IN ('user', 'admin')", name="role"),
        Index("uq_users_email", text(folded("email")), unique=True, postgresql_where=text("deleted_at IS NULL")),
        # an admin's list of all users, newest first, by keyset
        Index("ix_users_created", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
    )
