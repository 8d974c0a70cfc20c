"""The API in this process, on a PostgreSQL and a Redis of its own; with workers where a test asks for them."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.services import NAME, Services
from config import Settings
from jobs.kernel import broker
from local.postgres import READER, Postgres
from local.redis import Redis
from models import migrate, roles

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "Correct-horse1"
ORDER = {"services": ["123", "456"], "total_fee": "100.00"}
NO_LIMITS = {"rate_limit_user": "", "rate_limit_login_address": "", "rate_limit_login_account": ""}


@dataclass(frozen=True)
class Person:
    """Somebody who is in the users table."""

    id: UUID
    email: str
    role: str


class Client:
    """A client that is signed in, or not."""

    def __init__(self, app: Flask, token: str | None = None) -> None:
        self.app = app
        self._flask: FlaskClient = app.test_client()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __call__(self, method: str, path: str, **more: Any) -> TestResponse:
        headers = self._headers | more.pop("headers", {})
        return self._flask.open(path, method=method, headers=headers, buffered=True, **more)

    def get(self, path: str, **more: Any) -> TestResponse:
        return self("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self("POST", path, **({"json": body} if body is not None else {}), **more)

    def raw(self, body: bytes, path: str = "/v1/orders", **more: Any) -> TestResponse:
        return self("POST", path, data=body, **({"content_type": "application/json"} | more))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres"), options={"fsync": "off"})
    server.start()
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
    url = postgres.create_database("http")
    migrate.migrate(url)
    read_url = postgres.url("http", READER)
    roles.sync(url, read_url)
    return Settings(
        environment="production",
        database_url=url,
        read_database_url=read_url,
        redis_url=redis_server.url,
        secret_key=secrets.token_urlsafe(32),
        jwt_secret_key=secrets.token_urlsafe(32),
        **NO_LIMITS,
    )


@pytest.fixture(scope="session")
def people(base_settings: Settings) -> dict[str, Person]:
    hashed = PasswordHasher().hash(PASSWORD)
    found = {}
    with psycopg2.connect(base_settings.database_url) as connection, connection.cursor() as cursor:
        for name, role in (("admin", "admin"), ("user", "user"), ("other", "user")):
            cursor.execute(
                "INSERT INTO users (email, name, password_hash, role) VALUES (%s, %s, %s, %s) RETURNING id",
                [f"{name}@example.com", name, hashed, role],
            )
            (user_id,) = cursor.fetchone() or ("",)
            found[name] = Person(UUID(user_id), f"{name}@example.com", role)
    connection.close()
    return found


@pytest.fixture
def execute(base_settings: Settings) -> Iterator[Callable[..., None]]:
    """Run SQL as the owner of the tables."""
    connection = psycopg2.connect(base_settings.database_url)
    connection.autocommit = True

    def run(statement: str, *values: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)

    yield run
    connection.close()


@pytest.fixture
def settings(base_settings: Settings, execute: Callable[..., None]) -> Settings:
    """Settings for one test, whose Redis and tables are empty."""
    redis = broker.connect(base_settings.redis_url)
    redis.flushall()
    redis.close()
    execute("TRUNCATE orders, order_scopes, receipts")
    return base_settings


@pytest.fixture
def make_app(settings: Settings, people: dict[str, Person]) -> Iterator[Callable[..., Flask]]:
    """Make applications, with settings of the test's own."""
    made = []

    def make(**changes: Any) -> Flask:
        made.append(create_app(settings.model_copy(update=changes)))
        return made[-1]

    yield make
    for app in made:
        own: Services = app.extensions[NAME]
        own.sessions.kw["bind"].dispose()
        own.redis.close()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def signed_in(people: dict[str, Person]) -> Callable[[Flask, str], Client]:
    """A client of an application, signed in as `admin`, `user` or `other`."""

    def as_whom(app: Flask, name: str) -> Client:
        person = people[name]
        own: Services = app.extensions[NAME]
        with app.app_context():
            return Client(app, own.tokens.issue(person.id, role=person.role, session_version=1))

    return as_whom


@pytest.fixture
def user(app: Flask, signed_in: Callable[[Flask, str], Client]) -> Client:
    return signed_in(app, "user")


@pytest.fixture
def other(app: Flask, signed_in: Callable[[Flask, str], Client]) -> Client:
    return signed_in(app, "other")


@pytest.fixture
def admin(app: Flask, signed_in: Callable[[Flask, str], Client]) -> Client:
    return signed_in(app, "admin")


@pytest.fixture
def nobody(app: Flask) -> Client:
    return Client(app)


@pytest.fixture
def order_of(execute: Callable[..., None], people: dict[str, Person]) -> Callable[[str], str]:
    """Put an order of somebody's into the table; its id."""

    def make(name: str) -> str:
        order_id = str(UUID(bytes=secrets.token_bytes(16), version=4))
        execute(
            "INSERT INTO orders (id, owner_id, customer_id, services, total_fee, created_at, updated_at)"
            " VALUES (%s, %s, 'c', '{123}', 1, now(), now())",
            order_id,
            str(people[name].id),
        )
        return order_id

    return make


@contextmanager
def working(settings: Settings) -> Iterator[None]:
    """A real worker process for the length of a block."""
    environment = {name.upper(): str(value) for name, value in settings.model_dump().items() if name != "cors_origins"}
    command = [sys.executable, "-m", "workers", "--queues", "orders", "--processes", "1"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def worker(settings: Settings) -> Iterator[None]:
    with working(settings):
        yield
