"""Nobody but the owner changes the schema; the API cannot write: neither by its role, nor by its sessions where it has another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from local.postgres import READER, WRITER, Postgres
from models import Base, roles
from models.migrate import migrate
from models.session import psycopg2_url, reader

NO_PRIVILEGE, READ_ONLY = "42501", "25006"  # https://www.postgresql.org/docs/18/errcodes-appendix.html
OURS = {name: next(iter(table.columns)).name for name, table in Base.metadata.tables.items()}
OWNERS_ALONE = {"alembic_version": "version_num", "migration_log": "revision"}
LATER = {"came_later": "id"}
COLUMNS = OURS | OWNERS_ALONE | LATER
"""A column of every table that a fresh migration makes, and of one that is made when the roles are there."""

DML = {
    "insert": "INSERT INTO {table} ({column}) OVERRIDING SYSTEM VALUE SELECT {column} FROM {table} WHERE false",
    "update": "UPDATE {table} SET {column} = {column} WHERE false",
    "delete": "DELETE FROM {table} WHERE false",
}
WRITES = [how.format(table=table, column=column) for table, column in COLUMNS.items() for how in DML.values()] + [
    "MERGE INTO services s USING (VALUES ('123')) v (code) ON s.code = v.code WHEN MATCHED THEN DELETE",
    "SELECT * FROM services FOR UPDATE",
    "SELECT nextval('came_later_id_seq')",
]
DDL = [f"TRUNCATE {table}" for table in COLUMNS] + [
    "CREATE TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE INDEX ON services (name)",
    "CREATE TRIGGER mine AFTER INSERT ON services EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "DROP TABLE services",
    "ALTER TABLE services ADD COLUMN mine int",
    "ALTER DEFAULT PRIVILEGES FOR ROLE millrace GRANT ALL ON TABLES TO PUBLIC",
    "ALTER TABLE services OWNER TO CURRENT_USER",
    "SELECT setval('came_later_id_seq', 7)",
    "CREATE ROLE mine",
]


@dataclass(frozen=True)
class Urls:
    owner: str
    reader: str
    writer: str

    def sync(self) -> str:
        return roles.sync(self.owner, self.reader, self.writer)


@pytest.fixture(scope="module")
def urls(postgres: Postgres) -> Iterator[Urls]:
    """A freshly migrated database with its roles, and a table that was made after them."""
    owner = postgres.create_database("with_roles")
    found = Urls(owner, postgres.url("with_roles", READER), postgres.url("with_roles", WRITER))
    migrate(owner)
    found.sync()
    run(owner, "CREATE TABLE came_later (id serial, note text)")
    yield found
    postgres.drop_database("with_roles")


def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    """The rows of the last statement; each is a transaction, and the last is committed with all it did."""
    engine = create_engine(psycopg2_url(url))
    try:
        with engine.connect() as connection:
            for statement in statements:
                result = connection.execute(text(statement))
                rows = [tuple(row) for row in result] if result.returns_rows else []
                connection.commit()
            return rows
    finally:
        engine.dispose()


def refusal(url: str, *statements: str) -> str:
    """PostgreSQL's code for why it refuses one of the statements."""
    with pytest.raises(DBAPIError) as refused:
        run(url, *statements)
    return str(getattr(refused.value.orig, "pgcode", ""))


def test_every_table_is_looked_at(urls: Urls) -> None:
    tables = run(urls.owner, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert {name for (name,) in tables} == set(COLUMNS)


@pytest.mark.parametrize("statement", [*WRITES, *DDL, "CREATE TEMP TABLE mine (id int)"])
def test_the_reader_may_not_write_even_when_its_session_would_let_it(statement: str, urls: Urls) -> None:
    assert refusal(urls.reader, "SET default_transaction_read_only = off", statement) == NO_PRIVILEGE


@pytest.mark.parametrize("statement", [*WRITES, *DDL, "CREATE TEMP TABLE mine (id int)"])
def test_the_readers_sessions_are_read_only_from_the_start(statement: str, urls: Urls) -> None:
    assert refusal(urls.reader, statement) in (READ_ONLY, NO_PRIVILEGE)


@pytest.mark.parametrize("statement", WRITES)
def test_sessions_of_the_api_refuse_to_write_with_the_owners_role(statement: str, urls: Urls) -> None:
    sessions = reader(urls.owner)
    try:
        with sessions() as session, pytest.raises(DBAPIError) as refused:
            session.execute(text(statement))
        assert getattr(refused.value.orig, "pgcode", "") == READ_ONLY
    finally:
        sessions.kw["bind"].dispose()


@pytest.mark.parametrize("statement", [*DDL, "CREATE TEMP TABLE mine (id int)"])
def test_the_writer_may_not_change_the_schema_nor_empty_a_table(statement: str, urls: Urls) -> None:
    assert refusal(urls.writer, statement) == NO_PRIVILEGE


@pytest.mark.parametrize("how", DML)
@pytest.mark.parametrize("table", OWNERS_ALONE)
def test_the_writer_may_not_write_what_tells_of_migrations(how: str, table: str, urls: Urls) -> None:
    assert refusal(urls.writer, DML[how].format(table=table, column=COLUMNS[table])) == NO_PRIVILEGE


@pytest.mark.parametrize("how", DML)
@pytest.mark.parametrize("table", OURS | LATER)
def test_the_writer_writes_every_other_table(how: str, table: str, urls: Urls) -> None:
    assert run(urls.writer, DML[how].format(table=table, column=COLUMNS[table])) == []


def test_the_writer_has_its_rows_numbered(urls: Urls) -> None:
    assert run(urls.writer, "INSERT INTO came_later (note) VALUES ('x') RETURNING note") == [("x",)]


@pytest.mark.parametrize("table", COLUMNS)
@pytest.mark.parametrize("who", ["reader", "writer"])
def test_both_read_every_table(table: str, who: str, urls: Urls) -> None:
    assert run(getattr(urls, who), f"SELECT count(*) >= 0 FROM {table}") == [(True,)]


def test_making_the_roles_again_changes_nothing_also_all_at_once(urls: Urls) -> None:
    asked = "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    before = run(urls.owner, asked)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(urls.sync) for _ in range(8)]:
            assert READER in done.result()
            assert WRITER in done.result()
    assert run(urls.owner, asked) == before


@pytest.mark.parametrize("role", [READER, WRITER])
def test_what_a_role_was_given_beyond_its_own_is_taken_away(role: str, urls: Urls) -> None:
    run(
        urls.owner,
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT CREATE ON SCHEMA public TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {role}",
    )
    urls.sync()
    run(urls.owner, "CREATE TABLE came_last (id int)")
    try:
        url = urls.reader if role == READER else urls.writer
        for statement in ("CREATE TABLE mine (id int)", "TRUNCATE came_last", "DELETE FROM migration_log"):
            assert refusal(url, "SET default_transaction_read_only = off", statement) == NO_PRIVILEGE
    finally:
        run(urls.owner, "DROP TABLE came_last")


def test_one_role_cannot_be_both(urls: Urls) -> None:
    with pytest.raises(ValueError, match=READER):
        roles.sync(urls.owner, urls.reader, urls.reader)


def test_a_host_with_an_owner_and_one_more_gets_that_one(urls: Urls) -> None:
    assert WRITER not in roles.sync(urls.owner, urls.reader, "")
    assert READER not in roles.sync(urls.owner, urls.owner, urls.writer)
