"""Events recorded over HTTP: what is taken, what is refused and why, and whom they may be about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from tests.conftest import Person
from tests.events import EVENT
from tests.http.conftest import Client

Signed = Callable[[Flask, str], Client]
Make = Callable[..., Flask]
KEY = {"Idempotency-Key": "one"}


def fields(answer: Any) -> list[str]:
    return [error["field"] for error in answer.get_json()["errors"]]


def test_an_event_is_taken_and_its_address_is_known_at_once(user: Client) -> None:
    answer = user.post("/v1/events", EVENT)
    job = answer.get_json()
    assert (answer.status_code, job["kind"], job["status"]) == (202, "events.record", "queued")
    assert job["links"]["resource"] == f"/v1/events/{job['id']}"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["name"]),
        ({"name": ""}, ["name"]),
        ({"name": "x" * 101}, ["name"]),
        ({"name": "a\tb"}, ["name"]),
        ({"name": "x", "details": []}, ["details"]),
        ({"name": "x", "details": {"x": "x" * 65_536}}, ["details"]),
        ({"name": "x", "details": {"n": 2**64}}, ["details"]),
        ({"name": "x", "details": {"n": "\u0000"}}, ["details.n"]),
        ({"name": "x", "user_id": "nobody"}, ["user_id"]),
        ({"name": "", "details": 1, "delivery": "none"}, ["delivery", "details", "name"]),
    ],
)
def test_what_is_no_event_is_refused_with_every_field(
    user: Client, redis: Redis, body: dict[str, Any], wrong: list[str]
) -> None:
    answer = user.post("/v1/events", body)
    assert (answer.status_code, sorted(fields(answer))) == (422, wrong)
    assert redis.keys("rq:job:*") == []


@pytest.mark.parametrize("number", ["1e400", "1" * 400, "NaN"])
def test_a_number_beyond_all_range_is_refused(user: Client, number: str) -> None:
    answer = user.raw(b'{"name": "x", "details": {"n": %s}}' % number.encode(), "/v1/events")
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize(
    ("sender", "about", "status"),
    [
        ("user", "user", 202),
        ("user", "other", 403),
        ("user", "nobody", 403),
        ("admin", "other", 202),
        ("admin", "nobody", 202),  # a worker looks whom there is
    ],
)
def test_whoever_is_no_admin_names_only_themselves(
    app: Flask, signed_in: Signed, people: dict[str, Person], redis: Redis, sender: str, about: str, status: int
) -> None:
    named = people[about].id if about in people else uuid4()
    answer = signed_in(app, sender).post("/v1/events", EVENT | {"user_id": str(named)})
    assert answer.status_code == status
    assert len(redis.keys("rq:job:*")) == (status == 202)


def test_the_same_key_is_the_same_event(user: Client) -> None:
    first, again = (user.post("/v1/events", EVENT, headers=KEY) for _ in range(2))
    assert first.get_json() == again.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"
    other = user.post("/v1/events", EVENT | {"details": {}}, headers=KEY)
    assert (other.status_code, other.get_json()["code"]) == (422, "idempotency_key_reused")


def test_an_event_counts_against_its_senders_limit(make_app: Make, signed_in: Signed) -> None:
    user = signed_in(make_app(rate_limit_user="2/minute"), "user")
    assert [user.post("/v1/events", EVENT).status_code for _ in range(3)] == [202, 202, 429]
