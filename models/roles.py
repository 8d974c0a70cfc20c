"""The login roles beside the owner's: a reader for the API and a writer for workers; neither changes the schema (DESIGN.md §2)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import psycopg2
import psycopg2.extensions
from psycopg2 import sql
from sqlalchemy.engine import make_url

from models.migrate import migration_log

FOR_EVERYBODY = (
    "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC",
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
)
ANEW = (
    "REVOKE CREATE ON SCHEMA public FROM {role}",
    "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
    "REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public REVOKE ALL ON TABLES FROM {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public REVOKE ALL ON SEQUENCES FROM {role}",
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "GRANT USAGE ON SCHEMA public TO {role}",
)
READS = (
    *ANEW,
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT ON TABLES TO {role}",
    "ALTER ROLE {role} SET default_transaction_read_only = on",
)
WRITES = (
    *ANEW,
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT USAGE ON SEQUENCES TO {role}",
    "ALTER ROLE {role} RESET default_transaction_read_only",
)
OWNERS_ALONE = ["alembic_version", migration_log.name]
"""What tells which migrations were applied: nobody else writes it. They are there once one was, so sync after that."""

LOCK = 0x6D696C6C72_01
"""Two releases at once would trip over each other's rows in the catalogue."""


@dataclass(frozen=True)
class Role:
    """A login role: its name and password, what makes it what it is, and that in words."""

    name: str
    password: str
    grants: tuple[str, ...]
    can: str


def sync(owner_url: str, reader_url: str, writer_url: str) -> str:
    """Make or mend the login roles named in `reader_url` and `writer_url`, with their passwords, by way of `owner_url`.

    Returns what was done, for people. Idempotent; does nothing for a URL that is empty, or names the owner. Raises
    ValueError where both name one role, psycopg2.Error where PostgreSQL refuses.
    """
    owner = make_url(owner_url)
    wanted = [
        *_role(owner.username, reader_url, READS, "read every table, and write none"),
        *_role(owner.username, writer_url, WRITES, f"read and write every table but {' and '.join(OWNERS_ALONE)}"),
    ]
    if not wanted:
        return "One database role only: everybody uses it, the API in read-only sessions."
    if len({role.name for role in wanted}) < len(wanted):
        raise ValueError(f"READ_DATABASE_URL and WRITE_DATABASE_URL both name {wanted[0].name}: it cannot be both.")
    dsn = owner.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn, connect_timeout=5)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        for role in wanted:
            _make(connection, cursor, role)
            _grant(cursor, role)
    return "\n".join(f"Role {role.name} can {role.can}." for role in wanted)


def _role(owner: str | None, url: str, grants: tuple[str, ...], can: str) -> list[Role]:
    """The role of a URL, where that names one of its own."""
    given = make_url(url) if url else None
    if given is None or given.username == owner:
        return []
    return [Role(str(given.username), str(given.password or ""), grants, can)]


def _make(connection: psycopg2.extensions.connection, cursor: psycopg2.extensions.cursor, role: Role) -> None:
    """A new role can do nothing but log in. Of one that is there, only what a mere owner of it may change is set. Its
    password goes as what PostgreSQL keeps of it: a server may log such statements."""
    cursor.execute("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", [role.name])
    (exists,) = cursor.fetchone() or (False,)
    verb = sql.SQL("ALTER ROLE {} LOGIN" if exists else "CREATE ROLE {} LOGIN")
    statement = verb.format(sql.Identifier(role.name))
    if role.password:
        kept = psycopg2.extensions.encrypt_password(role.password, role.name, connection, "scram-sha-256")
        statement += sql.SQL(" PASSWORD {}").format(sql.Literal(kept))
    cursor.execute(statement)


def _grant(cursor: psycopg2.extensions.cursor, role: Role) -> None:
    """Take away whatever the owner granted it before, and give it what is its own."""
    cursor.execute("SELECT current_user, current_database()")
    owner, database = cursor.fetchone() or ("", "")
    names = {"owner": owner, "database": database, "role": role.name}
    named = {what: sql.Identifier(name) for what, name in names.items()}
    cursor.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename = ANY(%s)", [OWNERS_ALONE]
    )
    kept = [sql.Identifier(table) for (table,) in cursor.fetchall()]
    for statement in (*FOR_EVERYBODY, *role.grants):
        cursor.execute(sql.SQL(statement).format(**named))
    for table in kept:
        cursor.execute(sql.SQL("REVOKE INSERT, UPDATE, DELETE ON {table} FROM {role}").format(table=table, **named))
