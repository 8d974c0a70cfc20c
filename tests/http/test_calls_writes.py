"""Calls asked for over HTTP: what is taken, what is refused and why, and what is counted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from tests.http.conftest import CALL, Client

Signed = Callable[[Flask, str], Client]
Make = Callable[..., Flask]


def fields(answer: Any) -> list[str]:
    return [error["field"] for error in answer.get_json()["errors"]]


def test_a_call_is_taken_and_its_address_is_known_at_once(user: Client) -> None:
    answer = user.post("/v1/calls", CALL)
    job = answer.get_json()
    assert (answer.status_code, job["kind"], job["status"]) == (202, "calls.place", "queued")
    assert job["links"]["resource"] == f"/v1/calls/{job['id']}"
    assert user.get(job["links"]["resource"]).status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"phone_number": "4155550123"}, "phone_number"),
        ({"phone_number": "+1 415 555 0123"}, "phone_number"),
        ({"phone_number": "+19005550123"}, "phone_number"),
        ({"phone_number": "+14155550123\n"}, "phone_number"),
        ({"phone_number": 14155550123}, "phone_number"),
        ({"phone_number": None}, "phone_number"),
        ({"customer_name": ""}, "customer_name"),
        ({"customer_name": "x" * 101}, "customer_name"),
        ({"customer_name": "A\u0000da"}, "customer_name"),
        ({"workflow": "spam"}, "workflow"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_is_no_call_is_refused_with_the_field(user: Client, change: dict[str, Any], field: str) -> None:
    answer = user.post("/v1/calls", CALL | change)
    assert (answer.status_code, fields(answer)) == (422, [field])
    assert "4155550123" not in answer.text


def test_all_that_is_wrong_is_told_at_once(user: Client) -> None:
    assert sorted(fields(user.post("/v1/calls", {}))) == ["customer_name", "phone_number", "workflow"]


def test_a_country_that_is_not_allowed_is_refused_before_anything_is_queued_or_counted(
    make_app: Make, signed_in: Signed, redis: Redis
) -> None:
    user = signed_in(make_app(call_countries=("US",), rate_limit_calls_user="1/hour"), "user")
    answer = user.post("/v1/calls", CALL | {"phone_number": "+4930123456"})
    assert (answer.status_code, answer.get_json()["code"]) == (422, "country_not_allowed")
    assert fields(answer) == ["phone_number"]
    assert redis.keys("rq:job:*") == []
    assert user.post("/v1/calls", CALL).status_code == 202


def test_50_at_once_with_one_key_are_one_call_and_count_as_one(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    user = signed_in(make_app(rate_limit_calls_user="2/hour", rate_limit_calls_destination="2/hour"), "user")
    key = {"Idempotency-Key": "one"}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: user.post("/v1/calls", CALL, headers=key), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.get_json()["id"] for answer in answers}) == 1
    assert len(redis.keys("rq:job:*")) == 1
    assert user.post("/v1/calls", CALL | {"phone_number": "+14155550124"}).status_code == 202
    other_body = user.post("/v1/calls", CALL | {"workflow": "sales"}, headers=key)
    assert (other_body.status_code, other_body.get_json()["code"]) == (422, "idempotency_key_reused")


def test_a_user_has_20_calls_an_hour_and_a_number_3_whoever_calls_it(make_app: Make, signed_in: Signed) -> None:
    app = make_app(rate_limit_calls_user="20/hour", rate_limit_calls_destination="3/hour")
    user, other = signed_in(app, "user"), signed_in(app, "other")
    taken = [client.post("/v1/calls", CALL).status_code for client in (user, other, user, other)]
    assert taken == [202, 202, 202, 429]
    statuses = [
        user.post("/v1/calls", CALL | {"phone_number": f"+1415555{number:04}"}).status_code
        for number in range(1000, 1019)
    ]
    assert statuses == [202] * 18 + [429]
    refused = user.post("/v1/calls", CALL | {"phone_number": "+14155559999"})
    assert refused.get_json()["code"] == "rate_limited"
    assert 0 < int(refused.headers["Retry-After"]) <= 3600


def test_no_number_stands_in_the_name_of_a_key(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    user = signed_in(make_app(rate_limit_calls_user="9/hour", rate_limit_calls_destination="9/hour"), "user")
    assert user.post("/v1/calls", CALL).status_code == 202
    assert not [key for key in redis.keys("*") if b"4155550123" in key]
    assert b"4155550123" not in (redis.hget(redis.keys("rq:job:*")[0], "description") or b"")


@pytest.mark.parametrize(
    "body", [{}, {"status": "ringing"}, {"status": "canceled", "phone_number": "+1"}, {"status": None}]
)
def test_what_is_no_end_of_a_call_is_refused(user: Client, call_of: Callable[..., str], body: dict[str, Any]) -> None:
    assert user("PATCH", f"/v1/calls/{call_of('user')}", json=body).status_code == 422


def test_the_end_of_a_call_is_a_job_of_that_call(user: Client, admin: Client, call_of: Callable[..., str]) -> None:
    path = f"/v1/calls/{call_of('user', status='requested')}"
    for client in (user, admin):
        answer = client("PATCH", path, json={"status": "canceled"})
        assert (answer.status_code, answer.get_json()["links"]["resource"]) == (202, path)
