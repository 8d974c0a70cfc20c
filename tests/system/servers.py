"""A PostgreSQL and a Redis of a test's own, durable as in production, that it may kill."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2

from config import Settings
from jobs.kernel import broker
from local.postgres import READER, SUPERUSER, WRITER, Postgres
from local.redis import Redis
from models import migrate, roles
from tests.rights import forbidden

LIMITS = dict.fromkeys(
    (
        *("rate_limit_user", "rate_limit_register", "rate_limit_login_address", "rate_limit_login_account"),
        *("rate_limit_calls_user", "rate_limit_calls_destination", "rate_limit_bulk_lines"),
    ),
    "1000000/minute",
)
"""Counted as in production, and never reached."""

MIGRATING = threading.Lock()
"""Alembic keeps what it works on in a module: one migration at a time in one process."""

HIDE_NO_DUPLICATE = """
DO $$ BEGIN
  EXECUTE (SELECT 'ALTER TABLE orders DROP CONSTRAINT ' || quote_ident(conname)
           FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'p');
END $$;
CREATE INDEX ON orders (id)
"""
"""A primary key would turn an effect that happens twice into an error; without it, the effect is there to be counted."""


@dataclass(frozen=True)
class Servers:
    """Both servers, and settings that reach them: in Redis as its administrator. The database is migrated and empty."""

    folder: Path
    postgres: Postgres
    redis: Redis
    settings: Settings

    @classmethod
    @contextmanager
    def started(cls, folder: Path, redis_options: Mapping[str, str] | None = None, **more: Any) -> Iterator[Servers]:
        """Both run within the block, and all they hold is gone afterwards. `more`: settings."""
        postgres, redis = Postgres(folder / "postgres"), Redis(folder / "redis", options=redis_options)
        with ExitStack() as stack:
            stack.callback(postgres.remove)
            postgres.start()
            stack.callback(redis.remove)
            redis.start()
            url, read_url, write_url = postgres.url(), postgres.url(user=READER), postgres.url(user=WRITER)
            with MIGRATING:
                migrate.migrate(url)
            roles.sync(url, read_url, write_url)
            settings = Settings(
                environment="production",
                database_url=url,
                read_database_url=read_url,
                write_database_url=write_url,
                redis_url=redis.url,
                secret_key=secrets.token_urlsafe(32),
                jwt_secret_key=secrets.token_urlsafe(32),
                **LIMITS | more,
            )
            made = cls(folder, postgres, redis, settings)
            made.rows(HIDE_NO_DUPLICATE)
            yield made

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL as the owner of the tables."""
        return _run(self.postgres.url(), statement, *values)

    def start_redis(self) -> None:
        """Start it where it is down."""
        if self.redis.pid is None:
            self.redis.start()

    def lose_redis_data(self) -> None:
        self.in_redis(lambda redis: redis.flushall())

    def in_redis(self, ask: Callable[[Any], Any]) -> Any:
        """Ask Redis itself."""
        redis = broker.connect(self.settings.redis_url, timeout=5)
        try:
            return ask(redis)
        finally:
            redis.close()

    def redis_as(self, user: str) -> dict[str, str]:
        """What a process is told, that is to reach Redis as one of its users."""
        return {"REDIS_URL": self.redis.url_of(user)}

    def assert_nothing_forbidden(self) -> None:
        """Redis has refused nothing for want of a permission since it was last started; where it is down, nobody knows."""
        if self.redis.pid is not None:
            denied = self.in_redis(forbidden)
            assert not denied, denied

    @contextmanager
    def slow_commits(self, seconds: float) -> Iterator[None]:
        """Let every commit of workers who connect in this block take so long, as on a slow disk: a worker that is killed
        is then most often in the middle of one, which goes through though nobody hears of it."""
        as_superuser = partial(_run, self.postgres.url("postgres", SUPERUSER))
        as_superuser(f"ALTER ROLE {WRITER} SET commit_delay = {int(seconds * 1_000_000)}")
        as_superuser(f"ALTER ROLE {WRITER} SET commit_siblings = 0")
        try:
            yield
        finally:
            as_superuser(f"ALTER ROLE {WRITER} RESET ALL")


def _run(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []
