"""What still works without Redis or PostgreSQL, and what is said of the rest (CONTRACT.md §1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest
from flask import Flask
from psutil import Process
from werkzeug.test import TestResponse

from api.access import matrix
from api.services import NAME, Services
from config import Settings
from local.postgres import Postgres
from local.redis import Redis
from tests.conftest import NO_LIMITS, PASSWORD, Person
from tests.http.conftest import CALL, ORDER, Client, token_of
from tests.http.test_sessions import as_caller, sign_in
from tests.http.twilio import signed
from tests.processes import until
from tests.road import Road

KEY = {"Idempotency-Key": "through-an-outage"}
GOOD = {"email": "user@example.com", "password": PASSWORD}


@pytest.fixture(params=["killed", "hung"])
def redis_away(
    app: Flask, order_of: Callable[[str], str], redis_server: Redis, request: pytest.FixtureRequest
) -> Iterator[Callable[[], None]]:
    """Take Redis away, in one way or the other; give it back at the end of the test, or when called."""
    process = Process(redis_server.pid)

    def back() -> None:
        if request.param == "hung":
            process.resume()
        elif redis_server.pid is None:
            redis_server.start()

    if request.param == "hung":
        process.suspend()
    else:
        redis_server.kill()
    yield back
    back()


@pytest.fixture
def postgres_away(app: Flask, postgres: Postgres) -> Iterator[Callable[[], None]]:
    """Take PostgreSQL away; give it back at the end of the test, or when called."""

    def back() -> None:
        if postgres.pid is None:
            postgres.start()

    postgres.stop("immediate")
    yield back
    back()


def assert_unavailable(answer: TestResponse, code: str) -> None:
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (503, code)
    assert answer.content_type == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    assert "127.0.0.1" not in answer.get_data(as_text=True)


def test_writes_without_redis_are_503_within_a_second(user: Client, redis_away: Callable[[], None]) -> None:
    for headers in ({}, KEY, {"Prefer": "wait=5"}):
        began = monotonic()
        answer = user.post("/v1/orders", ORDER, headers=headers)
        assert monotonic() - began < 1
        assert_unavailable(answer, "queue_unavailable")
        assert answer.get_json()["job_id"]
    named = user.post("/v1/orders", ORDER, headers=KEY).get_json()["job_id"]
    redis_away()
    again = user.post("/v1/orders", ORDER, headers=KEY)
    assert (again.status_code, again.get_json()["id"]) == (202, named)


def test_reads_go_on_without_redis(
    make_app: Callable[..., Flask], signed_in: Callable[[Flask, str], Client], redis_away: Callable[[], None]
) -> None:
    client = signed_in(make_app(rate_limit_user="600/minute"), "user")
    for path in ("/v1/orders", "/v1/services", "/v1/jobs"):
        began = monotonic()
        assert client.get(path).status_code == 200
        assert monotonic() - began < 1


def test_signing_in_without_counting_is_refused(make_app: Callable[..., Flask], redis_away: Callable[[], None]) -> None:
    client = Client(make_app(rate_limit_login_address="10/minute"))
    for password in (PASSWORD, "Wrong-horse1"):
        assert_unavailable(client.post("/v1/auth/login", GOOD | {"password": password}), "queue_unavailable")
    redis_away()
    back = monotonic() + 5
    while (answer := client.post("/v1/auth/login", GOOD)).status_code == 503 and monotonic() < back:
        pass
    assert answer.status_code == 200


OPEN = {
    ("GET", "/v1/calls"),
    ("GET", "/v1/calls/<id>"),
    ("GET", "/v1/calls/<id>/events"),
    ("GET", "/v1/events"),
    ("GET", "/v1/events/<id>"),
    ("GET", "/v1/events/user/<user_id>"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/<id>"),
    ("GET", "/v1/orders"),
    ("GET", "/v1/orders/<id>"),
    ("GET", "/v1/services"),
    ("GET", "/v1/tasks"),
    ("GET", "/v1/tasks/<id>"),
    ("GET", "/v1/tasks/stats"),
    ("GET", "/v1/users"),
    ("GET", "/v1/users/me"),
    ("GET", "/v1/users/<id>"),
    ("GET", "/v1/webhooks/twilio/voice"),
    ("POST", "/v1/webhooks/twilio/voice"),
}
"""What goes on without Redis. All else that there is under /v1 is closed: it writes, or could be tried without a limit,
or tells what stands nowhere else."""

CLOSED: dict[tuple[str, str], Any] = {
    ("POST", "/v1/auth/login"): GOOD,
    ("POST", "/v1/auth/logout"): None,
    ("POST", "/v1/auth/refresh"): None,
    ("POST", "/v1/auth/register"): {"email": "new@example.com", "password": PASSWORD, "name": "New"},
    ("GET", "/v1/auth/sessions"): None,
    ("DELETE", "/v1/auth/sessions/<id>"): None,
    ("GET", "/v1/circuits"): None,
    ("GET", "/v1/events/circuit-status"): None,
    ("POST", "/v1/calls"): CALL,
    ("POST", "/v1/events"): {"name": "invoice.paid"},
    ("PATCH", "/v1/calls/<id>"): {"status": "canceled"},
    ("GET", "/v1/queues"): None,
    ("GET", "/v1/queues/<name>"): None,
    ("POST", "/v1/queues/<name>/pause"): None,
    ("POST", "/v1/queues/<name>/resume"): None,
    ("POST", "/v1/orders"): ORDER,
    ("PUT", "/v1/orders/<id>"): ORDER,
    ("PATCH", "/v1/orders/<id>"): {"total_fee": 1},
    ("DELETE", "/v1/orders/<id>"): None,
    ("POST", "/v1/tasks"): {"title": "One"},
    ("POST", "/v1/tasks/batch"): {"action": "create", "tasks": [{"title": "One"}]},
    ("PATCH", "/v1/tasks/<id>"): {"title": "One"},
    ("DELETE", "/v1/tasks/<id>"): None,
    ("POST", "/v1/users"): {"email": "new@example.com", "password": PASSWORD, "name": "New"},
    ("PATCH", "/v1/users/<id>"): {"password": PASSWORD},
    ("DELETE", "/v1/users/<id>"): None,
    ("POST", "/v1/webhooks/twilio/status"): None,
}


def test_each_route_is_open_or_closed_without_redis(
    settings: Settings,
    make_app: Callable[..., Flask],
    people: dict[str, Person],
    road: Road,
    order_of: Callable[[str], str],
    call_of: Callable[..., str],
    task_of: Callable[..., str],
    event_of: Callable[..., str],
    redis_server: Redis,
) -> None:
    limits = dict.fromkeys(NO_LIMITS, "600/minute")
    app = make_app(**limits)
    admin, refresh_token = Client(app, token_of(app, people["admin"])), sign_in(app)["refresh_token"]
    job = road.order("one")
    road.work()
    ids = {"jobs": str(job), "orders": order_of("user"), "users": str(people["user"].id), "auth": str(job)}
    ids |= {"calls": call_of("user"), "tasks": task_of("user"), "events": event_of("user")}
    assert {(method, rule) for method, rule, _ in matrix(app)} == OPEN | CLOSED.keys()
    redis_server.kill()
    try:
        for method, rule in sorted(OPEN | CLOSED.keys()):
            body = {"refresh_token": refresh_token} if rule.endswith("refresh") else CLOSED.get((method, rule))
            more = signed(settings, method, rule) if "/twilio/" in rule else {"json": body}
            began = monotonic()
            path = rule.replace("<user_id>", ids["users"]).replace("<id>", ids.get(rule.split("/")[2], ""))
            path = path.replace("<name>", "orders")
            answer = admin(method, path, **more)
            assert monotonic() - began < 5 * 1.0, (method, rule)
            if (method, rule) in OPEN:
                assert answer.status_code == 200, (method, rule)
            else:
                assert_unavailable(answer, "queue_unavailable")
    finally:
        redis_server.start()


def test_who_is_gone_is_seen_without_redis(
    app: Flask, people: dict[str, Person], road: Road, redis_server: Redis, execute: Callable[..., Any]
) -> None:
    clients = {name: Client(app, token_of(app, people[name])) for name in people}
    keyed = clients["user"].post("/v1/orders", ORDER, headers=KEY)
    road.work()
    redis_server.kill()
    try:
        execute("UPDATE users SET session_version = 2 WHERE id = %s", str(people["user"].id))
        execute("UPDATE users SET disabled_at = now() WHERE id = %s", str(people["other"].id))
        answers = {name: client.get("/v1/orders") for name, client in clients.items()}
        replayed = clients["user"].post("/v1/orders", ORDER, headers=KEY)
    finally:
        redis_server.start()
        execute("UPDATE users SET session_version = 1")
    assert {name: answer.status_code for name, answer in answers.items()} == {"admin": 200, "user": 401, "other": 401}
    assert answers["user"].get_json()["code"] == "session_ended"
    assert keyed.status_code == 202
    assert (replayed.status_code, replayed.get_json()["code"]) == (401, "session_ended"), "nor is an outcome told"


def test_a_session_that_was_seen_to_have_ended_has_ended_without_redis_too(app: Flask, redis_server: Redis) -> None:
    ended, live = (as_caller(app, sign_in(app)) for _ in range(2))
    ended.post("/v1/auth/logout")
    assert ended.get("/v1/orders").status_code == 401
    redis_server.kill()
    try:
        statuses = [client.get("/v1/orders").status_code for client in (ended, live)]
    finally:
        redis_server.start()
    assert statuses == [401, 200]


def test_what_an_outcome_ends_has_ended_as_soon_as_redis_is_back(
    app: Flask, people: dict[str, Person], road: Road, redis_server: Redis
) -> None:
    """Its worker was killed before it could tell, and nobody asks again."""
    admin, told = (as_caller(app, sign_in(app, name)) for name in ("admin", "other"))
    job = admin("PATCH", f"/v1/users/{people['other'].id}", json={"disabled": True}).get_json()["id"]
    road.execute(road.reserve())
    redis_server.kill()
    try:
        assert admin.get(f"/v1/jobs/{job}").get_json()["status"] == "succeeded"
    finally:
        redis_server.start()
    own: Services = app.extensions[NAME]
    until(lambda: not own.sessions.of(people["other"].id), 10)
    assert told.get("/v1/orders").status_code == 401


def test_creates_go_on_without_postgresql(user: Client, postgres_away: Callable[[], None]) -> None:
    for headers in ({}, KEY):
        assert user.post("/v1/orders", ORDER, headers=headers).status_code == 202
    again = user.post("/v1/orders", ORDER, headers=KEY)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert user.get(again.headers["Location"]).get_json() == again.get_json()


def test_what_needs_a_look_first_is_503_without_postgresql(
    user: Client, nobody: Client, postgres: Postgres, order_of: Callable[[str], str]
) -> None:
    path = f"/v1/orders/{order_of('user')}"
    assert user.get(path).status_code == 200
    postgres.stop("immediate")
    try:
        for answer in (
            user("PATCH", path, json={"total_fee": 1}),
            user("DELETE", path),
            user("PUT", path, json=ORDER, headers=KEY),
            user.get("/v1/orders"),
            user.get(path),
            user.get("/v1/jobs?status=succeeded"),
            nobody.post("/v1/auth/login", GOOD),
        ):
            assert_unavailable(answer, "database_unavailable")
    finally:
        postgres.start()
    until = monotonic() + 5
    while (answer := user.get(path)).status_code == 503 and monotonic() < until:
        pass
    assert answer.status_code == 200
