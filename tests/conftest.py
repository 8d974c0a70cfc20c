"""What every test can ask for: real PostgreSQL and Redis of its own, people, and the road a job takes."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from argon2 import PasswordHasher

import jobs
from config import Settings
from jobs.kernel import broker
from local.postgres import READER, WRITER, Postgres
from local.redis import Redis
from models import migrate, roles
from tests.rights import forbidden
from tests.road import Road

PASSWORD = "Correct-horse1"
NO_LIMITS = {
    "rate_limit_register": "",
    "rate_limit_user": "",
    "rate_limit_bulk_lines": "",
    "rate_limit_login_address": "",
    "rate_limit_login_account": "",
    "rate_limit_calls_user": "",
    "rate_limit_calls_destination": "",
}
TEMPLATE = "template_millrace"
MEMORY = Path("/dev/shm")
ROOM = 4 << 30

jobs.load()


def pytest_configure() -> None:
    """Keep what tests leave in files, servers' data before all, in memory where there is room. Their servers sync as in
    production; but a disk that others keep busy now and then makes Redis's answer later than anybody waits for it."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    found = os.statvfs(MEMORY)
    if found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def pytest_make_parametrize_id(val: object) -> str | None:
    """A set has no order of its own: name it alike in every process that collects the tests."""
    return "-".join(sorted(map(str, val))) if isinstance(val, set | frozenset) else None


@dataclass(frozen=True)
class Person:
    """Somebody who is in the users table."""

    id: UUID
    email: str
    role: str
    password_hash: str


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server with a migrated template database; not durable, because no test of it asks for that."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), options={"fsync": "off"})
    server.start()
    url = server.create_database(TEMPLATE)
    migrate.migrate(url)
    yield server
    server.remove()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def base_settings(postgres: Postgres, redis_server: Redis) -> Settings:
    """Settings of a database cloned from the template, with its roles; limits are off."""
    return settings_for(postgres, redis_server, "suite")


def settings_for(postgres: Postgres, redis_server: Redis, database: str) -> Settings:
    url = postgres.create_database(database, TEMPLATE)
    read_url, write_url = postgres.url(database, READER), postgres.url(database, WRITER)
    roles.sync(url, read_url, write_url)
    return Settings(
        environment="production",
        database_url=url,
        read_database_url=read_url,
        write_database_url=write_url,
        redis_url=redis_server.url,
        secret_key=secrets.token_urlsafe(32),
        jwt_secret_key=secrets.token_urlsafe(32),
        twilio_account_sid="AC" + secrets.token_hex(16),
        twilio_auth_token=secrets.token_hex(16),
        twilio_from_number="+15005550006",
        twilio_api_base_url="http://127.0.0.1:9",  # nobody listens there; tests that dial start a simulator
        cache_ttl_seconds=0,  # tests change tables behind the workers' backs; tests/http/test_cache.py does not
        **NO_LIMITS,
    )


@pytest.fixture(scope="session")
def people(base_settings: Settings) -> dict[str, Person]:
    """`admin`, `user` and `other`; their password is PASSWORD."""
    return add_people(base_settings)


def add_people(settings: Settings) -> dict[str, Person]:
    hashed = PasswordHasher().hash(PASSWORD)
    found = {}
    connection = psycopg2.connect(settings.database_url)
    with connection, connection.cursor() as cursor:
        for name, role in (("admin", "admin"), ("user", "user"), ("other", "user")):
            cursor.execute(
                "INSERT INTO users (email, name, password_hash, role) VALUES (%s, %s, %s, %s) RETURNING id::text",
                [f"{name}@example.com", name, hashed, role],
            )
            (user_id,) = cursor.fetchone() or ("",)
            found[name] = Person(UUID(user_id), f"{name}@example.com", role, hashed)
    connection.close()
    return found


@pytest.fixture
def execute(base_settings: Settings) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Run SQL as the owner of the tables; returns the rows."""
    connection = psycopg2.connect(base_settings.database_url)
    connection.autocommit = True

    def run(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    yield run
    connection.close()


@pytest.fixture
def settings(base_settings: Settings, people: dict[str, Person], execute: Callable[..., Any]) -> Iterator[Settings]:
    """Settings for one test, whose Redis and tables are empty, but for `people`, who are as they were at first; and in
    Redis its administrator's. Afterwards, none of Redis's users has been refused anything."""
    redis = broker.connect(base_settings.redis_url, timeout=5)
    redis.flushall()
    redis.acl_log_reset()
    execute("TRUNCATE calls, call_events, events, orders, order_scopes, outbox, receipts, tasks")
    execute("DELETE FROM users WHERE id <> ALL(%s::uuid[])", [str(person.id) for person in people.values()])
    for name, person in people.items():
        execute(
            "UPDATE users SET email = %s, name = %s, role = %s, password_hash = %s, session_version = 1, version = 1,"
            " updated_at = created_at, disabled_at = NULL, deleted_at = NULL WHERE id = %s::uuid",
            *(person.email, name, person.role, person.password_hash, str(person.id)),
        )
    yield base_settings
    denied = forbidden(redis)
    redis.close()
    assert not denied, denied


@pytest.fixture
def road(settings: Settings, people: dict[str, Person], redis_server: Redis) -> Iterator[Road]:
    """Submit, and have the work done in this process by the real executor."""
    made = Road(settings, people["user"].id, redis_server.url_of)
    yield made
    made.close()
