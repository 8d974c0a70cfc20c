"""Where the processes of a stack find PostgreSQL and Redis, each by its own role. Servers that were given, not started
here, are reached by the URLs that were given with them."""

from __future__ import annotations

from collections.abc import Mapping

from local.postgres import OWNER, READER, WRITER, Postgres
from local.redis import Redis

ROLES = {"DATABASE_URL": OWNER, "READ_DATABASE_URL": READER, "WRITE_DATABASE_URL": WRITER}


def every(given: Mapping[str, str], postgres: Postgres | None, redis: Redis | None) -> dict[str, str]:
    """For the release, and for who owns the stack: all three roles, and Redis's administrator."""
    urls = {name: given.get(name, "") for name in (*ROLES, "REDIS_URL")}
    if postgres:
        urls |= {name: postgres.url(user=role) for name, role in ROLES.items()}
    if redis:
        urls["REDIS_URL"] = redis.url
    return urls


def own(process: str, postgres: Postgres | None, redis: Redis | None) -> dict[str, str]:
    """For one process, and no more than it needs: the API reads, everybody else writes."""
    name, user = ("READ_DATABASE_URL", "api") if process == "web" else ("WRITE_DATABASE_URL", "worker")
    urls = {}
    if postgres:
        urls[name] = postgres.url(user=ROLES[name])
    if redis:
        urls["REDIS_URL"] = redis.url_of(user)
    return urls
