"""The servers everything is measured on: a durable PostgreSQL and Redis of the benchmark's own, emptied between runs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

import psycopg2
from argon2 import PasswordHasher
from psycopg2.extras import execute_values
from redis import Redis as Client

from benchmarks.systems.work import owner
from local.postgres import READER, WRITER, Postgres
from local.redis import Redis
from models import migrate, roles

ROOT = Path(__file__).resolve().parent.parent
OWNERS = 1000
"""People in the users table, who may own orders."""

REDIS_OPTIONS = {"maxmemory": "8gb"}
"""Room for a million jobs of any system; everything else is as `local/redis.py` has it: appendfsync always."""

PASSWORD = secrets.token_urlsafe(16)
SIGNS_IN = "owner-0@example.com"
"""Who can sign in, with PASSWORD, which lives as long as this process."""

COUNTED_NEVER_REACHED = "100000000/minute"


@dataclass
class Servers:
    """Both servers, running. Use `Servers.started`."""

    folder: Path
    postgres: Postgres
    redis: Redis
    secrets: Mapping[str, str] = field(
        default_factory=lambda: {name: secrets.token_urlsafe(32) for name in ("SECRET_KEY", "JWT_SECRET_KEY")}
    )

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Servers]:
        """Servers with an empty, migrated database and OWNERS people; their data is gone afterwards."""
        Postgres(folder / "postgres").remove()  # of a run that was killed
        Redis(folder / "redis").remove()
        postgres, broker = Postgres(folder / "postgres"), Redis(folder / "redis", options=REDIS_OPTIONS)
        with ExitStack() as stack:
            stack.callback(postgres.remove)
            postgres.start()
            stack.callback(broker.remove)
            broker.start()
            migrate.migrate(postgres.url())
            roles.sync(postgres.url(), postgres.url(user=READER), postgres.url(user=WRITER))
            servers = cls(folder, postgres, broker)
            servers._add_owners()
            yield servers

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of every process that is measured: production, all limits counted, none reached; the timing
        rule on, with a window of 0 s, so that it is applied to every order and accepts it."""
        limits = ("RATE_LIMIT_USER", "RATE_LIMIT_LOGIN_ADDRESS", "RATE_LIMIT_LOGIN_ACCOUNT")
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(ROOT),
            "ENVIRONMENT": "production",
            "DATABASE_URL": self.postgres.url(),
            "READ_DATABASE_URL": self.postgres.url(user=READER),
            "WRITE_DATABASE_URL": self.postgres.url(user=WRITER),
            "REDIS_URL": self.redis.url,
            "ORDER_WINDOW_SECONDS": "0",
            "MAX_QUEUE_DEPTH": "2000000",
            **dict.fromkeys(limits, COUNTED_NEVER_REACHED),
            **self.secrets,
            **more,
        }

    def rows(self, statement: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Run SQL as the owner of the tables, in a connection of its own; what it returns."""
        with closing(psycopg2.connect(self.postgres.url())) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []

    def client(self) -> Client:
        """A client of database 0."""
        return Client.from_url(self.redis.url, socket_timeout=60)

    def empty(self, *, keep_orders: bool = False) -> None:
        """As new: no job, no task, no order (but where they are kept), nothing left to write to disk from the run before."""
        self.rows(f"TRUNCATE order_scopes, receipts, tasks{'' if keep_orders else ', orders'}")
        with closing(psycopg2.connect(self.postgres.url("postgres", "postgres"))) as connection:
            connection.autocommit = True
            connection.cursor().execute("CHECKPOINT")
        with self.client() as client:
            client.flushall()
            client.bgrewriteaof()
            while client.info("persistence")["aof_rewrite_in_progress"]:
                sleep(0.02)

    def broker_bytes(self) -> int:
        """What everything in Redis takes, key by key: the sum of MEMORY USAGE over all databases."""
        total = 0
        for database in range(2):
            with Client.from_url(self.redis.url.removesuffix("/0") + f"/{database}", socket_timeout=60) as client:
                pipeline = client.pipeline(transaction=False)
                for asked, key in enumerate(client.scan_iter(count=1000), start=1):
                    pipeline.memory_usage(key, samples=0)
                    if asked % 1000 == 0:
                        total += sum(found or 0 for found in pipeline.execute())
                total += sum(found or 0 for found in pipeline.execute())
        return total

    def used_memory(self) -> int:
        """Redis's own figure of the memory its data takes, bytes; with clients and buffers in it."""
        with self.client() as client:
            return int(client.info("memory")["used_memory"])

    def _add_owners(self) -> None:
        hashed = PasswordHasher().hash(PASSWORD)
        people = [(owner(n), f"owner-{n}@example.com", f"Owner {n}", "!" if n else hashed) for n in range(OWNERS)]
        with closing(psycopg2.connect(self.postgres.url())) as connection, connection, connection.cursor() as cursor:
            execute_values(cursor, "INSERT INTO users (id, email, name, password_hash) VALUES %s", people)
