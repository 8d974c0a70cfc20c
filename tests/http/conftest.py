"""The API in this process; with real workers where a test asks for them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis as RedisClient
from sqlalchemy import event
from werkzeug.test import TestResponse

from api.app import create_app
from api.services import NAME, Services
from api.tokens import new_jti
from config import Settings
from jobs.kernel import broker
from jobs.kernel.errors import Failed
from local.redis import Redis
from models.task import words_of
from tests.conftest import Person

ROOT = Path(__file__).resolve().parent.parent.parent
ORDER = {"services": ["123", "456"], "total_fee": "100.00"}
CALL = {"phone_number": "+14155550123", "customer_name": "Ada", "workflow": "support"}


class Client:
    """A client that is signed in, or not."""

    def __init__(self, app: Flask, token: str | None = None) -> None:
        self.app = app
        self._flask: FlaskClient = app.test_client(use_cookies=False)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __call__(self, method: str, path: str, **more: Any) -> TestResponse:
        headers = self._headers | more.pop("headers", {})
        return self._flask.open(path, method=method, headers=headers, buffered=True, **more)

    def get(self, path: str, **more: Any) -> TestResponse:
        return self("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self("POST", path, **({"json": body} if body is not None else {}), **more)

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """What is answered, part by part as it comes; at the end of the block the client goes away."""
        answer = self._flask.open(path, headers=self._headers)
        try:
            yield iter(answer.response)
        finally:
            answer.close()

    def raw(self, body: bytes, path: str = "/v1/orders", **more: Any) -> TestResponse:
        return self("POST", path, data=body, **({"content_type": "application/json"} | more))


@pytest.fixture
def make_app(settings: Settings, people: dict[str, Person], redis_server: Redis) -> Iterator[Callable[..., Flask]]:
    """Make applications, with settings of the test's own, and the API's rights in Redis."""
    made = []

    def make(**changes: Any) -> Flask:
        made.append(create_app(settings.model_copy(update={"redis_url": redis_server.url_of("api")} | changes)))
        return made[-1]

    yield make
    for app in made:
        own: Services = app.extensions[NAME]
        own.waiting.close()
        own.counting.close()
        own.readers.kw["bind"].dispose()
        own.redis.close()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def signed_in(people: dict[str, Person]) -> Callable[[Flask, str], Client]:
    """A client of an application, signed in as `admin`, `user` or `other`."""

    def as_whom(app: Flask, name: str) -> Client:
        person = people[name]
        return Client(app, token_of(app, person))

    return as_whom


def token_of(app: Flask, person: Person) -> str:
    """An access token of somebody's, in a session of its own; where there is no Redis, in one that nobody can find."""
    own: Services = app.extensions[NAME]
    try:
        session = own.sessions.open(person.id, 1, new_jti(), None)
    except broker.LOST:
        session = uuid4()
    assert session is not None
    with app.app_context():
        return own.tokens.access(person.id, role=person.role, session=session, session_version=1)


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


@pytest.fixture
def call_of(execute: Callable[..., None], people: dict[str, Person]) -> Callable[..., str]:
    """Put a call of somebody's into the table; its id. `more`: columns."""

    def make(who: str, /, **more: Any) -> str:
        number = f"+1500{secrets.randbelow(10**7):07}"
        columns = {"phone_number": number, "customer_name": "Ada", "workflow": "support", "status": "completed"}
        return insert(execute, "calls", people[who], columns | {"updated_at": "now"} | more)

    return make


@pytest.fixture
def task_of(execute: Callable[..., None], people: dict[str, Person]) -> Callable[..., str]:
    """Put a task of somebody's into the table; its id. `more`: columns."""

    def make(who: str, /, **more: Any) -> str:
        columns = {"title": "Call the customer back", "status": "pending", "priority": 1, "updated_at": "now"} | more
        words = words_of(columns["title"], columns.get("description"))
        return insert(execute, "tasks", people[who], columns | {"words": words})

    return make


@pytest.fixture
def event_of(execute: Callable[..., None], people: dict[str, Person]) -> Callable[..., str]:
    """Put an event of somebody's into the table; its id. `more`: columns."""

    def make(who: str, /, **more: Any) -> str:
        columns = {"name": "invoice.paid", "details": "{}", "delivery": "none"}
        return insert(execute, "events", people[who], columns | more)

    return make


@pytest.fixture
def letter_of(execute: Callable[..., None], people: dict[str, Person]) -> Callable[..., str]:
    """Put the receipt of a failed job of somebody's into the table, which can be run again; its id. `more`: columns."""

    def make(who: str, /, **more: Any) -> str:
        error = Failed("The job failed 5 times.").problem()
        envelope = {"kind": "orders.place", "body": ORDER}
        columns = {"kind": "orders.place", "state": "failed", "run": 1, "attempts": 5, "error": json.dumps(error)}
        columns |= {"envelope": json.dumps(envelope), "submitted_at": "now", "finished_at": "now"}
        row = {"id": str(uuid4()), "owner_id": str(people[who].id)} | columns | more
        execute(f"INSERT INTO receipts ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())
        return str(row["id"])

    return make


def insert(execute: Callable[..., None], table: str, owner: Person, columns: dict[str, Any]) -> str:
    """Put a row of somebody's into a table; its id."""
    row = {"id": str(uuid4()), "owner_id": str(owner.id), "created_at": "now"} | columns
    places = ", ".join(["%s"] * len(row))
    execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())
    return str(row["id"])


@contextmanager
def statements(app: Flask) -> Iterator[list[tuple[str, Any]]]:
    """The statements that the application sends for the length of a block, and their parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        sent.append((statement, parameters))

    engine = app.extensions[NAME].readers.kw["bind"]
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def plans(settings: Settings) -> Iterator[Callable[[Client, str], list[str]]]:
    """PostgreSQL's plans for a page of a list, and for the one after it."""
    connection = psycopg2.connect(settings.database_url)

    def of(client: Client, path: str) -> list[str]:
        with statements(client.app) as sent, connection.cursor() as cursor:
            meta = client.get(path).get_json()["meta"]
            if meta["next_cursor"] and "page" not in meta:
                client.get(f"{path}&cursor={meta['next_cursor']}")
            found = []
            for statement, parameters in sent:
                cursor.execute(f"EXPLAIN {statement}", parameters)
                found.append("\n".join(line for (line,) in cursor.fetchall()))
        return found

    yield of
    connection.close()


@contextmanager
def working(settings: Settings, queues: str = "orders,tasks,users") -> Iterator[None]:
    """A real worker process for the length of a block."""
    environment = {name.upper(): str(value) for name, value in settings.model_dump().items() if value != ()}
    command = [sys.executable, "-m", "workers", "--queues", queues, "--processes", "1"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def worker(settings: Settings, redis_server: Redis) -> Iterator[None]:
    with working(settings.model_copy(update={"redis_url": redis_server.url_of("worker")})):
        yield


@pytest.fixture
def redis(settings: Settings) -> Iterator[RedisClient]:
    """Redis, as its administrator has it."""
    with RedisClient.from_url(settings.redis_url) as client:
        yield client
