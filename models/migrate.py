"""The schema's versions: bring a database to the newest, ask which one it has, and what was applied when."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Identity, MetaData, Table, Text, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

LOCK = 7_202_011  # any number, as long as nothing else of ours locks it
LOCK_TIMEOUT_MS = 5_000
UNDEFINED_TABLE = "42P01"  # https://www.postgresql.org/docs/18/errcodes-appendix.html
FOLDER = Path(__file__).resolve().parent.parent / "migrations"

migration_log = Table(
    "migration_log",
    MetaData(),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("revision", Text, nullable=False),
    Column("direction", Text, nullable=False),
    # the moment itself, not that of the transaction's start
    Column("executed_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("executed_by", Text, nullable=False, server_default=text("current_user")),
    CheckConstraint("direction IN ('upgrade', 'downgrade', 'stamp')", name="ck_migration_log_direction"),
)
"""Every migration ever applied here, written by the hook in migrations/env.py; for people who operate the database."""


def migrate(database_url: str, revision: str = "head") -> None:
    """Upgrade the database to `revision`, as its owner. Does nothing where it is there already.

    Raises sqlalchemy.exc.OperationalError when the database is away, or a table stays locked for 5 seconds; what was
    applied before stays applied, and calling again goes on from there.
    """
    command.upgrade(configuration(database_url), revision)


def configuration(database_url: str) -> Config:
    """Alembic's configuration for our migrations on that database, for any of `alembic.command`."""
    config = Config(attributes={"database_url": database_url})
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    return config


@cache
def head() -> str | None:
    """The newest revision this code knows."""
    return ScriptDirectory(str(FOLDER)).get_current_head()


def applied(session: Session) -> str | None:
    """The revision the database is at, or None. Raises what `is_missing` tells where none was ever applied."""
    revision: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def is_missing(error: SQLAlchemyError) -> bool:
    """Whether the error says that the database answers, but has no table of versions yet."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) == UNDEFINED_TABLE
