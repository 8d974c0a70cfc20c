"""What still works without Redis or PostgreSQL, and what is said of the rest (CONTRACT.md §1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

import pytest
from flask import Flask
from psutil import Process
from werkzeug.test import TestResponse

from local.postgres import Postgres
from local.redis import Redis
from tests.conftest import PASSWORD
from tests.http.conftest import ORDER, Client

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
    assert_unavailable(client.post("/v1/auth/login", GOOD), "queue_unavailable")
    redis_away()
    back = monotonic() + 5
    while (answer := client.post("/v1/auth/login", GOOD)).status_code == 503 and monotonic() < back:
        pass
    assert answer.status_code == 200


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
