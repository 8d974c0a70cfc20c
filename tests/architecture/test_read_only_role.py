"""The API cannot write: neither by its database role, nor by its sessions where it has the owner's role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from local.postgres import READER, Postgres
from models import roles
from models.migrate import migrate
from models.session import psycopg2_url, reader

NO_PRIVILEGE, READ_ONLY = "42501", "25006"  # https://www.postgresql.org/docs/18/errcodes-appendix.html
WRITES = [
    "INSERT INTO services VALUES ('x', 'x')",
    "UPDATE services SET name = 'x'",
    "DELETE FROM services",
    "TRUNCATE services",
    "MERGE INTO services s USING (VALUES ('123')) v (code) ON s.code = v.code WHEN MATCHED THEN DELETE",
    "SELECT * FROM services FOR UPDATE",
    "INSERT INTO came_later VALUES (1)",
    "UPDATE came_later SET id = 2",
    "DELETE FROM came_later",
    "TRUNCATE came_later",
    "CREATE TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "DROP TABLE services",
    "ALTER TABLE services ADD COLUMN mine int",
    "ALTER DEFAULT PRIVILEGES FOR ROLE millrace GRANT INSERT ON TABLES TO millrace_reader",
]


@dataclass(frozen=True)
class Urls:
    owner: str
    reader: str


@pytest.fixture(scope="module")
def urls(postgres: Postgres) -> Iterator[Urls]:
    """A freshly migrated database with its reader role, and a table that was made after the role."""
    owner = postgres.create_database("read_only")
    found = Urls(owner, postgres.url("read_only", READER))
    migrate(owner)
    roles.sync(found.owner, found.reader)
    engine = create_engine(psycopg2_url(owner))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE came_later AS SELECT 1 AS id"))
    engine.dispose()
    yield found
    postgres.drop_database("read_only")


def refusal(url: str, statement: str, *, before: str) -> str:
    """PostgreSQL's code for why it refuses the statement."""
    engine = create_engine(psycopg2_url(url))
    try:
        with engine.connect() as connection:
            connection.execute(text(before))
            connection.commit()
            with pytest.raises(DBAPIError) as refused:
                connection.execute(text(statement))
            return str(getattr(refused.value.orig, "pgcode", ""))
    finally:
        engine.dispose()


@pytest.mark.parametrize("statement", WRITES)
def test_the_role_may_not_write_even_when_its_session_would_let_it(statement: str, urls: Urls) -> None:
    assert refusal(urls.reader, statement, before="SET default_transaction_read_only = off") == NO_PRIVILEGE


@pytest.mark.parametrize("statement", [*WRITES[:12], "CREATE TEMP TABLE mine (id int)"])
def test_the_roles_sessions_are_read_only_from_the_start(statement: str, urls: Urls) -> None:
    assert refusal(urls.reader, statement, before="SELECT 1") in (READ_ONLY, NO_PRIVILEGE)


@pytest.mark.parametrize("statement", WRITES[:12])
def test_sessions_of_the_api_refuse_to_write_with_the_owners_role(statement: str, urls: Urls) -> None:
    sessions = reader(urls.owner)
    try:
        with sessions() as session, pytest.raises(DBAPIError) as refused:
            session.execute(text(statement))
        assert getattr(refused.value.orig, "pgcode", "") == READ_ONLY
    finally:
        sessions.kw["bind"].dispose()


@pytest.mark.parametrize("table", ["users", "orders", "receipts", "services", "migration_log", "came_later"])
def test_the_role_reads_every_table_also_one_made_later(table: str, urls: Urls) -> None:
    sessions = reader(urls.reader)
    try:
        with sessions() as session:
            assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() >= 0
    finally:
        sessions.kw["bind"].dispose()


def test_making_the_role_again_changes_nothing(urls: Urls) -> None:
    roles.sync(urls.owner, urls.reader)
    assert refusal(urls.reader, WRITES[0], before="SET default_transaction_read_only = off") == NO_PRIVILEGE
