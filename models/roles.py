"""The role the API reads with: it can SELECT from every table, also later ones, and nothing else (DESIGN.md §2)."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import psycopg2.extensions
from psycopg2 import sql
from sqlalchemy.engine import make_url

GRANTS = (
    "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {reader}",
    "REVOKE CREATE ON SCHEMA public FROM {reader}",
    "GRANT CONNECT ON DATABASE {database} TO {reader}",
    "GRANT USAGE ON SCHEMA public TO {reader}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT ON TABLES TO {reader}",
    "ALTER ROLE {reader} SET default_transaction_read_only = on",
)
LOCK = 0x6D696C6C72_01
"""Two releases at once would trip over each other's rows in the catalogue."""


def sync(owner_url: str, reader_url: str) -> str:
    """Make or mend the login role named in `reader_url`, with its password, by way of `owner_url`.

    Returns what was done, for people. Idempotent; does nothing where there is no second role. Raises psycopg2.Error.
    """
    owner, reader = make_url(owner_url), make_url(reader_url or owner_url)
    if not reader_url or reader.username == owner.username:
        return "One database role only: the API reads with it, in read-only sessions."
    dsn = owner.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn, connect_timeout=5)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        cursor.execute("SELECT current_user, current_database()")
        current, database = cursor.fetchone() or ("", "")
        names = {
            "owner": sql.Identifier(current),
            "reader": sql.Identifier(str(reader.username)),
            "database": sql.Identifier(database),
        }
        _make(cursor, str(reader.username), reader.password)
        for grant in GRANTS:
            cursor.execute(sql.SQL(grant).format(**names))
    return f"Role {reader.username} can read every table of {database}, and write none."


def _make(cursor: psycopg2.extensions.cursor, name: str, password: object) -> None:
    """A new role can do nothing but log in. Of one that is there, only what a mere owner of it may change is set."""
    cursor.execute("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", [name])
    (exists,) = cursor.fetchone() or (False,)
    verb = sql.SQL("ALTER ROLE {} LOGIN" if exists else "CREATE ROLE {} LOGIN")
    statement = verb.format(sql.Identifier(name))
    if password:
        statement += sql.SQL(" PASSWORD {}").format(sql.Literal(str(password)))
    cursor.execute(statement)
