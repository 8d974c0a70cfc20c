"""What limits bulks: a request counts once, each line once, and each job as if it were asked for alone (CONTRACT.md §1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from jobs.kernel import keys, registry
from jobs.kernel.command import Command
from jobs.kernel.envelope import Job
from jobs.kernel.policy import Policy, RateLimit
from tests.conftest import PASSWORD, Person
from tests.http.bulks import Line, bulk, ids, place, post, refusal, statuses
from tests.http.conftest import CALL, ORDER, Client

Signed = Callable[[Flask, str], Client]
Make = Callable[..., Flask]


class Rare(
    Command,
    kind="test.rare",
    route="POST /v1/test/rare",
    policy=Policy("default", limits=(RateLimit("rate_limit_register", by="caller"),)),
):
    """Do something that each request counts for."""

    def handle(self, ctx: Any, job: Job[Any]) -> Any:
        return {}


registry.remove(Rare)


@pytest.fixture
def rare() -> Iterator[Line]:
    registry.add(Rare)
    yield {"kind": "test.rare"}
    registry.remove(Rare)


def orders(count: int) -> list[Line | bytes]:
    return [place(str(number)) for number in range(count)]


def test_a_bulk_is_one_request_whatever_becomes_of_it(make_app: Make, signed_in: Signed) -> None:
    client = signed_in(make_app(rate_limit_user="4/minute"), "user")
    answers = [
        post(client, orders(150)),
        post(client, [b"{"]),
        post(client, orders(1), content_type="text/plain"),
        post(client, [b"{}"] * 1001),
        post(client, orders(1)),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 415, 413, 429]
    assert [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers] == [3, 2, 1, 0, 0]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert client.get("/v1/jobs").status_code == 429, "reads count the same"


@pytest.mark.parametrize("most", [5, 100, 150])
def test_as_many_lines_are_accepted_as_the_window_has_room_for(
    make_app: Make, signed_in: Signed, redis: Redis, most: int
) -> None:
    app = make_app(rate_limit_bulk_lines=f"{most}/minute")
    client = signed_in(app, "user")
    outcomes = bulk(client, orders(most + 70))
    assert statuses(outcomes) == [202] * most + [429] * 70
    assert all(1 <= one["error"]["retry_after"] <= 60 for one in outcomes[most:])
    assert statuses(bulk(client, orders(3))) == [429] * 3
    assert redis.llen(keys.queue("orders")) == most
    assert statuses(bulk(signed_in(app, "other"), orders(3))) == [202] * 3
    assert client.post("/v1/orders", ORDER).status_code == 202, "single writes are no lines"


def test_lines_that_are_not_submitted_are_not_counted(make_app: Make, signed_in: Signed) -> None:
    client = signed_in(make_app(rate_limit_bulk_lines="5/minute"), "user")
    assert statuses(bulk(client, [b"{", {"kind": "x"}] * 30)) == [400, 422] * 30
    assert statuses(bulk(client, orders(5))) == [202] * 5


def test_counters_of_lines_are_not_named_after_anybody(
    make_app: Make, signed_in: Signed, redis: Redis, people: dict[str, Person]
) -> None:
    bulk(signed_in(make_app(rate_limit_bulk_lines="9/minute"), "user"), orders(1))
    (name,) = redis.keys("LIMITS:*")
    assert str(people["user"].id).encode() not in name


def test_limits_of_jobs_count_each_line(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    limits = {"rate_limit_calls_user": "4/hour", "rate_limit_calls_destination": "2/hour"}
    client = signed_in(make_app(**limits), "user")
    other_number = CALL | {"phone_number": "+14155550124"}
    bodies = [CALL, CALL, CALL, other_number, other_number, CALL | {"phone_number": "+14155550125"}]
    lines = [{"kind": "calls.place", "body": body, "idempotency_key": str(n)} for n, body in enumerate(bodies)]
    outcomes = bulk(client, [*lines, place()])
    assert statuses(outcomes) == [202, 202, 429, 202, 202, 429, 202]
    assert outcomes[2]["error"]["retry_after"] > 3000
    again = bulk(client, lines)
    assert [one["status"] for one in again] == [202, 202, 429, 202, 202, 429]
    assert [one.get("replayed") for one in again] == [True, True, None, True, True, None]
    assert redis.llen(keys.queue("calls")) == 4


def test_each_line_with_a_password_counts_as_a_request_too(
    make_app: Make, signed_in: Signed, people: dict[str, Person]
) -> None:
    client = signed_in(make_app(rate_limit_user="3/minute"), "user")
    me = str(people["user"].id)
    change: Line = {"kind": "users.amend", "target": me, "body": {"password": PASSWORD}}
    rename: Line = {"kind": "users.amend", "target": me, "body": {"name": "Another"}}
    outcomes = bulk(client, [change, rename, change, change, rename, place()])
    assert statuses(outcomes) == [202, 202, 202, 429, 202, 202]
    assert outcomes[3]["error"]["retry_after"] >= 1


def test_a_limit_of_requests_counts_each_line(make_app: Make, signed_in: Signed, rare: Line) -> None:
    client = signed_in(make_app(rate_limit_register="2/hour", rate_limit_user="9/minute"), "user")
    answer = post(client, [rare, place(), rare, rare])
    assert answer.headers["X-RateLimit-Remaining"] == "8", "what is told is the sender's own limit"
    assert [b'"status":202,' in line for line in answer.data.splitlines()] == [True, True, True, False]
    assert refusal(bulk(client, [rare])[0]) == (429, "rate_limited")


def test_what_a_full_queue_does_not_take_is_told_line_by_line(make_app: Make, signed_in: Signed) -> None:
    client = signed_in(make_app(max_queue_depth=120), "user")
    outcomes = bulk(client, [*orders(130), {"kind": "tasks.create", "body": {"title": "One"}}])
    assert statuses(outcomes) == [202] * 120 + [503] * 10 + [202]
    assert refusal(outcomes[120]) == (503, "queue_full")
    assert outcomes[120]["error"]["retry_after"] >= 1


def test_an_empty_setting_is_no_limit(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    client = signed_in(make_app(rate_limit_bulk_lines="", rate_limit_user=""), "user")
    assert len(ids(bulk(client, orders(300)))) == 300
    assert redis.keys("LIMITS:*") == []
