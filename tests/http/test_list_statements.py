"""How many statements reads send: as many for fifty rows as for one, over every list and every single thing there is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import orjson
import pytest
from flask import Flask, Response
from sqlalchemy import select

from api import documented
from api.access import access_of, answers
from api.documented import Documented
from api.schemas import OrderPage
from api.services import services
from api.shapes import Page
from jobs.kernel.policy import Access
from models import Order
from tests.conftest import Person
from tests.http.conftest import ORDER, Client, statements, token_of

MANY = 50
OTHERWISE = {"/v1/auth/sessions": 0, "/v1/jobs": 2}
"""Sessions are in Redis. Jobs are there and in PostgreSQL, which is asked again for what it had not had yet."""

Row = Callable[[str], object]


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """One that keeps nothing of what it has read."""
    return make_app(cache_ttl_seconds=0)


@pytest.fixture
def rows(
    app: Flask,
    people: dict[str, Person],
    execute: Callable[..., Any],
    order_of: Row,
    call_of: Row,
    task_of: Row,
    event_of: Row,
    letter_of: Row,
    signed_in: Callable[[Flask, str], Client],
) -> Iterator[dict[str, Row]]:
    """By list: what adds one thing of somebody's to it."""

    def call(name: str) -> str:
        call_id = str(call_of(name))
        statement = "INSERT INTO call_events (call_id, status, at, source) VALUES (%s, %s, now(), 'worker')"
        for status in ("dialing", "ringing", "completed"):
            execute(statement, call_id, status)
        return call_id

    def user(_: str) -> None:
        execute("INSERT INTO users (email, name, password_hash) VALUES (%s, 'n', 'h')", f"{uuid4().hex}@example.org")

    yield {
        "/v1/auth/sessions": lambda name: token_of(app, people[name]),
        "/v1/calls": call,
        "/v1/dead-letters": letter_of,
        "/v1/events": event_of,
        "/v1/events/user/<user_id>": event_of,
        "/v1/jobs": lambda name: signed_in(app, name).post("/v1/orders", ORDER).get_json()["id"],
        "/v1/orders": order_of,
        "/v1/services": lambda _: execute("INSERT INTO services VALUES (%s, 'n')", uuid4().hex),
        "/v1/tasks": task_of,
        "/v1/users": user,
    }
    execute("DELETE FROM services WHERE name = 'n'")


def reads(app: Flask) -> Iterator[tuple[str, Documented, Access]]:
    """Every route under `/v1` that is read, and what it says of itself."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        said = documented.of(view)
        if said and "GET" in (rule.methods or ()) and rule.rule.startswith("/v1"):
            yield rule.rule, said, access_of(view)


def lists(app: Flask) -> dict[str, tuple[Documented, Access]]:
    """Those that answer a page of a list."""
    pages = {rule: (said, access) for rule, said, access in reads(app) if is_page(said.responses.get(200))}
    return {rule: page for rule, page in pages.items() if rule != "/v1/queues"}  # which Redis alone knows


def is_page(answer: object) -> bool:
    return inspect.isclass(answer) and issubclass(answer, Page)


def sends(client: Client, path: str, least: int = 0) -> int:
    """How many statements a read sends, which shows so many things at least."""
    with statements(client.app) as sent:
        answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    assert least <= len(answer.get_json().get("data", ())), path
    return len(sent)


def test_each_list_is_tried(app: Flask, rows: dict[str, Row]) -> None:
    assert lists(app).keys() == rows.keys()


def test_a_list_sends_as_many_statements_for_fifty_rows_as_for_one(
    app: Flask,
    rows: dict[str, Row],
    people: dict[str, Person],
    signed_in: Callable[[Flask, str], Client],
    subtests: pytest.Subtests,
) -> None:
    for rule, (said, access) in lists(app).items():
        name = "admin" if access is Access.ADMIN else "user"
        path = f"{rule.replace('<user_id>', str(people[name].id))}?limit=100"
        with subtests.test(rule):
            rows[rule](name)
            few = sends(signed_in(app, name), path, 1)
            for _ in range(MANY - 1):
                rows[rule](name)
            client = signed_in(app, name)  # only now: many sessions end the first ones
            assert sends(client, path, MANY) == few == OTHERWISE.get(rule, 1)
            if said.query and "page" in said.query.model_fields:
                assert sends(client, f"{path}&page=1", MANY) == 2


def test_what_is_read_by_itself_is_read_in_one_statement(
    app: Flask,
    rows: dict[str, Row],
    people: dict[str, Person],
    signed_in: Callable[[Flask, str], Client],
    subtests: pytest.Subtests,
) -> None:
    rows["/v1/users/me"] = rows["/v1/users"] = lambda name: people[name].id
    singles = {rule for rule, said, _ in reads(app) if said.conditional}
    assert len(singles) > 5
    for rule in sorted(singles):
        with subtests.test(rule):
            found = rows[rule.partition("/<")[0]]("user")
            assert sends(signed_in(app, "user"), re.sub("<.*>", str(found), rule)) == 1


def test_a_list_that_asks_for_every_row_is_found_out(
    app: Flask, rows: dict[str, Row], signed_in: Callable[[Flask, str], Client]
) -> None:
    """The control of the tests above."""

    @answers()
    @documented.documented("List orders", response=OrderPage)
    def careless() -> Response:
        with services().readers() as session:
            ids = session.scalars(select(Order.id)).all()
            found = [session.execute(select(Order.version).where(Order.id == each)).one() for each in ids]
        return Response(orjson.dumps({"data": [list(row) for row in found]}), content_type="application/json")

    app.add_url_rule("/v1/careless", "careless", careless)
    assert lists(app).keys() - rows.keys() == {"/v1/careless"}
    counts = []
    for _ in range(2):
        rows["/v1/orders"]("user")
        counts.append(sends(signed_in(app, "user"), "/v1/careless"))
    assert counts == [2, 3]
