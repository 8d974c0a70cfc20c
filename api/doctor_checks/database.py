"""PostgreSQL: that it keeps what it has committed, and that each role may do what it needs, and no more (DESIGN.md §2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row, make_url, text
from sqlalchemy.orm import Session

from api.doctor_checks import Finding, failure, fine, versions, warning
from api.doctor_checks.clocks import clock
from config import Settings
from models.roles import OWNERS_ALONE
from models.session import Sessions

SERVER = text(
    """
    SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS replica,
      ARRAY(SELECT name FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')
            AND setting = 'off' ORDER BY name) AS off
    """
)
NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")

ROLES = text(
    """
    WITH ours AS (
      SELECT c.oid, c.relname, c.relowner, c.relname = ANY(:owners_alone) AS owners_alone
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
    )
    SELECT r.rolname AS name, r.rolname = current_user AS reads, r.rolsuper AS superuser,
      has_schema_privilege(r.oid, 'public', 'CREATE') AS creates,
      EXISTS (SELECT FROM ours WHERE relowner = r.oid) AS owns,
      ARRAY(SELECT relname::text FROM ours WHERE NOT has_table_privilege(r.oid, oid, 'SELECT') ORDER BY 1) AS unreadable,
      ARRAY(SELECT relname::text FROM ours WHERE has_table_privilege(r.oid, oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
            ORDER BY 1) AS writable,
      ARRAY(SELECT relname::text FROM ours WHERE NOT owners_alone AND NOT (has_table_privilege(r.oid, oid, 'INSERT')
            AND has_table_privilege(r.oid, oid, 'UPDATE') AND has_table_privilege(r.oid, oid, 'DELETE'))
            ORDER BY 1) AS unwritable
    FROM pg_roles r WHERE r.rolcanlogin ORDER BY r.rolname
    """
)
"""Of every role that can sign in: what it may do with our tables, by ownership, membership and grants alike."""

SYNC = "Mend what roles may do: flask --app api.app roles sync, with the owner's DATABASE_URL."
APART = "Give it a role of its own, then: flask --app api.app roles sync."


def database(readers: Sessions, settings: Settings) -> Iterator[Finding]:
    """What the API's own sessions can see. Raises one of DATABASE_ERRORS."""
    with readers() as session:
        server = session.execute(SERVER).one()
        yield versions.postgresql(server.version)
        yield _durability(server.off)
        yield _replica(server.replica, settings.read_replica_lag_seconds)
        roles = session.execute(ROLES, {"owners_alone": OWNERS_ALONE}).all()
        yield _reader(next(role for role in roles if role.reads), settings)
        yield _writers(roles, settings)
        yield clock("postgresql", lambda: _now(session))


def _now(session: Session) -> float:
    return float(session.execute(NOW).scalar_one())


def _durability(off: list[str]) -> Finding:
    if not off:
        return fine("postgresql.durability", "what is committed is on disk")
    name = "postgresql.durability"
    statements = "; ".join(f"ALTER SYSTEM SET {setting} = 'on'" for setting in off)
    mend = f"As its superuser, in psql: {statements}; SELECT pg_reload_conf()."
    return failure(name, f"{', '.join(off)} off: outcomes that were told can be lost", mend)


def _replica(replica: bool, lag: int) -> Finding:
    if replica and not lag:
        mend = "Say by how many seconds it may be late, in READ_REPLICA_LAG_SECONDS, to all processes."
        return warning("postgresql.replica", "reads come from a replica, and READ_REPLICA_LAG_SECONDS is 0", mend)
    return fine("postgresql.replica", f"reads may be {lag} s late" if lag else "reads come from where workers write")


def _reader(role: Row[Any], settings: Settings) -> Finding:
    """The API may read, and nothing else; where a host gives one role only, it is the owner's, and its sessions are read-only."""
    name = "roles.api"
    if role.unreadable:
        return failure(name, f"{role.name} may not read {', '.join(role.unreadable)}", SYNC)
    if role.superuser or role.owns:
        how = "is a superuser" if role.superuser else "owns tables"
        made = failure if settings.read_database_url else warning
        return made(
            name, f"{role.name} {how}: its sessions alone keep the API from writing", f"READ_DATABASE_URL: {APART}"
        )
    if role.writable or role.creates:
        what = ", ".join(role.writable) or "new tables"
        return failure(name, f"{role.name} may write {what}", SYNC)
    return fine(name, f"{role.name} may read, and nothing else")


def _writers(roles: Sequence[Row[Any]], settings: Settings) -> Finding:
    """Workers may write, and own nothing. Where this process is not told their role, it is whoever else may write."""
    name, told = "roles.workers", settings.write_database_url
    wanted = make_url(told).username if told else None
    found = [role for role in roles if (role.name == wanted if told else _like_a_writer(role))]
    if not found and told:
        return failure(name, f"there is no role {wanted}", SYNC)
    if not found:
        return warning(name, "nobody but the owner can write: so workers are the owner", f"WRITE_DATABASE_URL: {APART}")
    names = ", ".join(role.name for role in found)
    if lacking := sorted({table for role in found for table in role.unwritable + role.unreadable}):
        return failure(name, f"{names} may not write {', '.join(lacking)}", SYNC)
    if any(role.superuser or role.owns for role in found):
        return failure(
            name, f"{names} may change the schema: it owns tables, or is a superuser", f"WRITE_DATABASE_URL: {APART}"
        )
    if too_much := sorted({table for role in found for table in role.writable if table in OWNERS_ALONE}):
        return failure(name, f"{names} may write {', '.join(too_much)}", SYNC)
    return fine(name, f"{names} may read and write, and owns nothing")


def _like_a_writer(role: Row[Any]) -> bool:
    return bool(role.writable) and not (role.superuser or role.owns or role.reads)
