"""Alembic's environment: which database, which tables, and the log of what was applied when.

`models.migrate` gives the URL; from the command line (`flask db …`) it comes from the environment's settings.
Each migration is one transaction, with its log row and its version in it; but for what it does in an `autocommit_block`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from time import sleep
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from config import Settings
from models import Base
from models.migrate import LOCK, LOCK_TIMEOUT_MS, migration_log
from models.session import psycopg2_url

TURN_SECONDS = 0.2


def record(ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]) -> None:
    """Alembic's on_version_apply hook: one log row, in the transaction of the step it tells of."""
    direction = "stamp" if step.is_stamp else "upgrade" if step.is_upgrade else "downgrade"
    ctx.execute(CreateTable(migration_log, if_not_exists=True))
    # a step down is told by the revision it undoes, as a step up is by the one it applies
    for revision in step.up_revision_ids:
        ctx.execute(migration_log.insert().values(revision=revision, direction=direction))


def database_url() -> str:
    """The owner's URL: the caller's where one was given, else that of the settings."""
    given = context.config.attributes.get("database_url")
    return str(given) if given else Settings.from_env().database_url


def is_declared(_: object, name: str | None, kind: str, *__: object) -> bool:
    """The log is kept by the hook, and belongs to no model."""
    return not (kind == "table" and name == migration_log.name)


def configure(**how: Any) -> None:
    context.configure(
        **how,
        target_metadata=Base.metadata,
        include_object=is_declared,
        compare_server_default=True,
        transaction_per_migration=True,
        on_version_apply=record,
    )


def wait_for_turn(connection: Connection) -> None:
    """Wait until no other process migrates. By asking again and again: for whoever waits in a statement, an index that is
    made concurrently would wait in turn."""
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}):
        connection.rollback()
        sleep(TURN_SECONDS)
    connection.commit()


def run_online() -> None:
    """Migrate, one process at a time: whoever comes second waits, and then finds nothing left to do."""
    engine = create_engine(
        psycopg2_url(database_url()),
        poolclass=NullPool,
        connect_args={
            "connect_timeout": 5,
            "application_name": "millrace-migrate",
            "options": f"-c lock_timeout={LOCK_TIMEOUT_MS}",
        },
    )
    with engine.connect() as connection:
        wait_for_turn(connection)
        configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()


def run_offline() -> None:
    """Print the SQL instead, for someone else to run."""
    configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
