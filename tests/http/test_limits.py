"""Rate limits: one counter of a user for reads and writes, and those of signing in."""

from __future__ import annotations

from collections.abc import Callable
from time import time

import pytest
from flask import Flask
from redis import Redis
from werkzeug.test import TestResponse

from api.services import NAME, Services
from tests.conftest import PASSWORD
from tests.http.conftest import ORDER, Client

Signed = Callable[[Flask, str], Client]
Make = Callable[..., Flask]


def headers_of(answer: TestResponse) -> tuple[int, int]:
    assert time() - 1 <= int(answer.headers["X-RateLimit-Reset"]) <= time() + 61
    return int(answer.headers["X-RateLimit-Limit"]), int(answer.headers["X-RateLimit-Remaining"])


def assert_limited(answer: TestResponse) -> None:
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (429, "rate_limited")
    assert answer.content_type == "application/problem+json"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert problem["retry_after"] == int(answer.headers["Retry-After"])
    assert headers_of(answer)[1] == 0


def test_reads_and_writes_count_as_one(make_app: Make, signed_in: Signed) -> None:
    client = signed_in(make_app(rate_limit_user="5/minute"), "user")
    asks = [
        lambda: client.get("/v1/jobs"),
        lambda: client.post("/v1/orders", ORDER),
        lambda: client.get("/v1/orders"),
        lambda: client.post("/v1/orders", {}),
        lambda: client("DELETE", "/v1/orders/nonsense"),
    ]
    answers = [ask() for ask in asks]
    assert [answer.status_code for answer in answers] == [200, 202, 200, 422, 404]
    assert [headers_of(answer) for answer in answers] == [(5, 4), (5, 3), (5, 2), (5, 1), (5, 0)]
    for ask in asks:
        assert_limited(ask())


def test_a_counter_is_shared_by_all_processes_and_by_nobody_else(make_app: Make, signed_in: Signed) -> None:
    one, two = make_app(rate_limit_user="2/minute"), make_app(rate_limit_user="2/minute")
    assert signed_in(one, "user").get("/v1/jobs").status_code == 200
    assert signed_in(two, "user").post("/v1/orders", ORDER).status_code == 202
    assert_limited(signed_in(one, "user").post("/v1/orders", ORDER))
    assert_limited(signed_in(two, "user").get("/v1/jobs"))
    assert signed_in(one, "other").get("/v1/jobs").status_code == 200


def test_a_write_over_the_limit_is_not_queued(make_app: Make, signed_in: Signed) -> None:
    app = make_app(rate_limit_user="1/minute")
    client = signed_in(app, "user")
    client.post("/v1/orders", ORDER)
    assert_limited(client.post("/v1/orders", ORDER))
    own: Services = app.extensions[NAME]
    assert own.redis.llen("rq:queue:orders") == 1


def test_an_empty_setting_is_no_limit(make_app: Make, signed_in: Signed) -> None:
    client = signed_in(make_app(rate_limit_user=""), "user")
    for answer in (client.get("/v1/jobs"), client.post("/v1/orders", ORDER)):
        assert "X-RateLimit-Limit" not in answer.headers


def test_pages_for_anyone_are_not_counted(make_app: Make) -> None:
    client = Client(make_app(rate_limit_user="1/minute"))
    for _ in range(3):
        assert client.get("/healthz").status_code == 200
        assert client.get("/openapi.json").status_code == 200
        assert client.get("/v1/jobs").status_code == 401


@pytest.mark.parametrize("password", [PASSWORD, "Wrong-horse1"])
def test_sign_ins_of_one_account_are_limited(make_app: Make, password: str) -> None:
    client = Client(make_app(rate_limit_login_account="2/minute"))
    for email in ("user@example.com", "USER@example.com"):
        client.post("/v1/auth/login", {"email": email, "password": password})
    assert_limited(client.post("/v1/auth/login", {"email": "user@example.com", "password": PASSWORD}))
    answer = client.post("/v1/auth/login", {"email": "other@example.com", "password": PASSWORD})
    assert answer.status_code == 200


def test_sign_ins_from_one_address_are_limited(make_app: Make) -> None:
    client = Client(make_app(rate_limit_login_address="2/minute"))
    assert client.post("/v1/auth/login", {"email": "a@example.com", "password": "x"}).status_code == 401
    assert client.post("/v1/auth/login", {}).status_code == 422
    assert_limited(client.post("/v1/auth/login", {"email": "b@example.com", "password": "x"}))
    elsewhere = {"REMOTE_ADDR": "10.0.0.9"}
    answer = client.post("/v1/auth/login", {"email": "b@example.com", "password": "x"}, environ_overrides=elsewhere)
    assert answer.status_code == 401


@pytest.mark.parametrize(("proxies", "limited"), [(0, True), (1, False)])
def test_an_address_is_taken_from_trusted_proxies_only(make_app: Make, proxies: int, limited: bool) -> None:
    client = Client(make_app(rate_limit_login_address="1/minute", trusted_proxies=proxies))
    statuses = [
        client.post("/v1/auth/login", {}, headers={"X-Forwarded-For": address}).status_code
        for address in ("10.0.0.1", "10.0.0.2")
    ]
    assert statuses == [422, 429 if limited else 422]


def test_counters_are_not_named_after_anybody(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    app = make_app(rate_limit_user="9/minute", rate_limit_login_account="9/minute", rate_limit_login_address="9/minute")
    signed_in(app, "user").get("/v1/jobs")
    Client(app).post("/v1/auth/login", {"email": "user@example.com", "password": PASSWORD})
    names = b" ".join(redis.keys("LIMITS:*"))
    assert names.count(b"LIMITS:") == 3
    assert b"example" not in names
    assert b"127.0.0.1" not in names


def test_a_setting_that_is_no_limit_refuses_to_start(make_app: Make) -> None:
    for notation in ("plenty", "5/minute;9/hour"):
        with pytest.raises(ValueError, match=r".+"):
            make_app(rate_limit_user=notation)
