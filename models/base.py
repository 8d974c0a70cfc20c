"""The declarative base and the column types that every table shares."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, MetaData, text, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

Instant = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Key = Annotated[UUID, mapped_column(primary_key=True)]
NewKey = Annotated[UUID, mapped_column(primary_key=True, server_default=text("uuidv7()"))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]


class Base(DeclarativeBase):
    """Every table; constraint names follow one convention, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )

    @classmethod
    def there(cls) -> ColumnElement[bool]:
        """Which of its rows are there for clients who name one."""
        deleted_at: ColumnElement[Any] | None = getattr(cls, "deleted_at", None)
        return true() if deleted_at is None else deleted_at.is_(None)
