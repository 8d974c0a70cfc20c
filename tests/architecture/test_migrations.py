"""The schema comes from migrations alone: they agree with the models, can be undone, and leave a record."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from local.postgres import Postgres
from models import Base
from models.migrate import FOLDER, configuration, head, migrate
from models.session import psycopg2_url
from tests.processes import until

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, udt_name, is_nullable, column_default, numeric_precision, numeric_scale
        FROM information_schema.columns WHERE table_schema = 'public'""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "storage": """
        SELECT relname, relkind, reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i', 'S')""",
}
OURS = ("migration_log", "alembic_version")
NOTICE = """
    INSERT INTO outbox (kind, owner_id, subject_id, payload, created_at)
    VALUES ('test', gen_random_uuid(), gen_random_uuid(), '{}', now())"""
MIGRATING = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'millrace-migrate' AND datname = current_database()"""
WAITING = f"{MIGRATING} AND wait_event_type = 'Lock' AND query LIKE '%ix_outbox_sent%'"
RELEASE = [sys.executable, "-c", "import sys; from models.migrate import migrate; migrate(sys.argv[1])"]


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[Callable[[], str]]:
    """Make databases with nothing in them; their URLs."""
    made: list[str] = []

    def make() -> str:
        name = f"migrations_{len(made)}"
        made.append(name)
        return postgres.create_database(name)

    yield make
    for name in made:
        postgres.drop_database(name)


@pytest.fixture
def url(empty: Callable[[], str]) -> str:
    return empty()


def query(url: str, statement: str) -> list[Any]:
    return [tuple(row) for row in on(url, lambda connection: connection.execute(text(statement)).all())]


def on(url: str, ask: Callable[[Connection], Any]) -> Any:
    engine = create_engine(psycopg2_url(url))
    try:
        with engine.begin() as connection:
            return ask(connection)
    finally:
        engine.dispose()


def tables(url: str) -> set[str]:
    return {name for (name,) in query(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


@contextmanager
def an_open_write(url: str) -> Iterator[None]:
    """Somebody has written to the outbox, and not yet committed."""
    engine = create_engine(psycopg2_url(url))
    with engine.begin() as connection:
        connection.execute(text(NOTICE))
        yield
    engine.dispose()


def wait_until_it_waits(url: str) -> None:
    """For that somebody, to make an index."""
    until(lambda: bool(query(url, WAITING)))


def unfinished(url: str) -> list[Any]:
    return query(url, "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")


def steps(url: str) -> list[Any]:
    return query(url, "SELECT revision, direction FROM migration_log ORDER BY id")


def test_autogenerate_finds_nothing_that_the_migrations_miss(url: str) -> None:
    migrate(url)

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_server_default": True, "include_name": lambda name, *_: name not in OURS}
        return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)

    assert on(url, differences) == []


@pytest.mark.parametrize("part", CATALOGUE)
def test_migrated_database_is_what_the_models_would_create(part: str, empty: Callable[[], str]) -> None:
    migrated, modelled = empty(), empty()
    migrate(migrated)
    on(modelled, Base.metadata.create_all)

    def catalogue(url: str) -> set[str]:
        return {repr(row) for row in query(url, CATALOGUE[part]) if not row[0].startswith((*OURS, "pk_migration_log"))}

    assert catalogue(migrated) == catalogue(modelled)


def test_migrations_can_be_undone_and_done_again(url: str) -> None:
    migrate(url)
    there = tables(url)
    command.downgrade(configuration(url), "base")
    assert tables(url) == set(OURS)
    migrate(url)
    assert tables(url) == there


def test_every_step_is_recorded_with_the_moment_it_was_executed(url: str) -> None:
    migrate(url)
    command.downgrade(configuration(url), "base")
    revisions = [script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()]
    up = [(revision, "upgrade") for revision in reversed(revisions)]
    assert steps(url) == up + [(revision, "downgrade") for revision in revisions]
    moments = [moment for (moment,) in query(url, "SELECT executed_at FROM migration_log ORDER BY id")]
    assert moments == sorted(moments)
    assert all(abs(datetime.now(UTC) - moment) < timedelta(minutes=1) for moment in moments)


def test_migrating_again_does_and_records_nothing(url: str) -> None:
    migrate(url)
    before = steps(url)
    migrate(url)
    assert steps(url) == before


def test_a_stamp_is_recorded_as_one(url: str) -> None:
    command.stamp(configuration(url), "head")
    assert steps(url) == [(head(), "stamp")]


def test_a_migration_that_fails_leaves_nothing_behind(url: str) -> None:
    on(url, lambda connection: connection.execute(text("CREATE TABLE receipts (id int)")))
    with pytest.raises(ProgrammingError, match="already exists"):
        migrate(url)
    assert tables(url) - {"alembic_version"} == {"receipts"}


def test_releases_at_the_same_time_apply_each_migration_once(url: str) -> None:
    releases = [subprocess.Popen([*RELEASE, url], cwd=ROOT) for _ in range(3)]
    assert [release.wait(timeout=60) for release in releases] == [0, 0, 0]
    assert len(steps(url)) == len({revision for revision, _ in steps(url)})


def test_a_release_that_waits_for_its_turn_keeps_nobody_waiting(url: str) -> None:
    migrate(url, "0004")
    with an_open_write(url):
        releases = [subprocess.Popen([*RELEASE, url], cwd=ROOT)]
        wait_until_it_waits(url)
        releases.append(subprocess.Popen([*RELEASE, url], cwd=ROOT))
        until(lambda: len(query(url, f"{MIGRATING} AND backend_start < now() - interval '1 second'")) == 2)
    assert [release.wait(timeout=60) for release in releases] == [0, 0]


def test_nobody_who_writes_is_kept_waiting_while_indexes_are_made(url: str) -> None:
    migrate(url, "0004")
    with ThreadPoolExecutor(1) as release, an_open_write(url):
        migrating = release.submit(migrate, url)
        wait_until_it_waits(url)
        query(url, f"SET LOCAL lock_timeout = '1s'; {NOTICE} RETURNING 1")
    migrating.result()
    assert query(url, "SELECT count(*)::int FROM outbox") == [(2,)]
    assert unfinished(url) == []


def test_indexes_that_were_not_finished_are_made_anew(url: str) -> None:
    migrate(url, "0004")
    with ThreadPoolExecutor(1) as release, an_open_write(url):
        migrating = release.submit(migrate, url)
        wait_until_it_waits(url)
        query(url, f"SELECT pg_cancel_backend(pid) FROM ({WAITING})")
        with pytest.raises(OperationalError):
            migrating.result()
    assert unfinished(url) == [("ix_outbox_sent",)]
    migrate(url)
    assert unfinished(url) == []
    assert [step for step in steps(url) if step[0] == "0005"] == [("0005", "upgrade")]


def test_migrations_can_be_printed_as_sql(capsys: pytest.CaptureFixture[str], url: str) -> None:
    command.upgrade(configuration(url), "head", sql=True)
    printed = capsys.readouterr().out
    assert "CREATE TABLE orders" in printed
    assert "INSERT INTO migration_log (revision, direction) VALUES ('0001', 'upgrade')" in printed
    assert tables(url) == set()


def test_the_catalogue_of_services_is_seeded(url: str) -> None:
    migrate(url)
    seeded = query(url, "SELECT code, name FROM services ORDER BY code")
    assert seeded == [("123", "Inspection"), ("456", "Analysis"), ("789", "Testing")]


def test_there_is_one_line_of_migrations() -> None:
    assert len(ScriptDirectory(str(FOLDER)).get_heads()) == 1
