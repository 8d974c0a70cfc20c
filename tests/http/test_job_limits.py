"""Limits that are counted where a job is made: of what is asked twice under one key once, and of what is refused never."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Annotated, Any

import pytest
from flask import Flask
from pydantic import StringConstraints
from redis import Redis
from werkzeug.test import TestResponse

from config import Settings
from jobs.kernel import keys, registry
from jobs.kernel.command import Command
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Invalid
from jobs.kernel.policy import Policy, RateLimit
from tests.http.conftest import Client
from tests.road import Road

Signed = Callable[[Flask, str], Client]
Make = Callable[..., Flask]

BY_USER, BY_NUMBER = "rate_limit_calls_user", "rate_limit_calls_destination"
COUNTED = Policy(
    "default",
    limits=(RateLimit(BY_USER, by="caller", per_job=True), RateLimit(BY_NUMBER, by="number", per_job=True)),
)
ONE, TWO = {"number": "+15005550006"}, {"number": "+15005550009"}


class Ring(Command, kind="test.ring", route="POST /v1/test/rings", policy=COUNTED):
    """Ring at a number."""

    number: Annotated[str, StringConstraints(pattern=r"^\+[0-9]{8,15}$")]

    def check(self, settings: Settings) -> None:
        if settings.call_countries and not self.number.startswith("+1"):
            raise Invalid(errors=[{"field": "number", "message": "is nowhere near"}])

    def handle(self, ctx: Any, job: Job[Any]) -> Any:
        return {}


registry.remove(Ring)


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    registry.add(Ring)
    yield
    registry.remove(Ring)


def ring(client: Client, body: dict[str, str] = ONE, key: str | None = None) -> TestResponse:
    return client.post("/v1/test/rings", body, headers={"Idempotency-Key": key} if key else {})


def statuses(answers: list[TestResponse]) -> list[int]:
    return [answer.status_code for answer in answers]


def counted(redis: Redis) -> list[int]:
    """What all counters of such limits have counted, those of users' requests aside."""
    return sorted(int(redis.get(name) or 0) for name in redis.keys("LIMITS:*") if not name.endswith(b"/1/minute"))


def assert_capped(answer: TestResponse, limit: int) -> None:
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (429, "rate_limited")
    assert 3590 <= int(answer.headers["Retry-After"]) <= 3600
    assert problem["retry_after"] == int(answer.headers["Retry-After"])
    assert answer.headers.getlist("X-RateLimit-Limit") == [str(limit)]
    assert answer.headers["X-RateLimit-Remaining"] == "0"


def test_so_many_jobs_of_one_user(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    app = make_app(rate_limit_calls_user="3/hour")
    client = signed_in(app, "user")
    assert statuses([ring(client) for _ in range(3)]) == [202] * 3
    assert_capped(ring(client), 3)
    assert ring(signed_in(app, "other")).status_code == 202
    assert redis.llen(keys.queue("default")) == 4


def test_so_many_jobs_to_one_number_whoever_asks(make_app: Make, signed_in: Signed) -> None:
    app = make_app(rate_limit_calls_destination="2/hour")
    one, two = signed_in(app, "user"), signed_in(app, "other")
    assert statuses([ring(one), ring(two)]) == [202, 202]
    for client in (one, two):
        assert_capped(ring(client), 2)
        assert ring(client, TWO).status_code == 202


def test_what_one_limit_refuses_the_other_does_not_count(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    client = signed_in(make_app(rate_limit_calls_user="3/hour", rate_limit_calls_destination="1/hour"), "user")
    assert statuses([ring(client) for _ in range(5)]) == [202, 429, 429, 429, 429]
    assert counted(redis) == [1, 1]
    assert ring(client, TWO).status_code == 202


def test_a_repeat_counts_nothing_and_is_never_refused(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    client = signed_in(make_app(rate_limit_calls_user="1/hour", rate_limit_calls_destination="1/hour"), "user")
    first = ring(client, key="k")
    assert_capped(ring(client), 1)
    for _ in range(3):
        again = ring(client, key="k")
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
        assert again.get_json()["id"] == first.get_json()["id"]
    assert ring(client, TWO, key="k").get_json()["code"] == "idempotency_key_reused"
    assert counted(redis) == [1, 1]


def test_a_key_that_was_refused_is_good_later(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    client = signed_in(make_app(rate_limit_calls_user="1/hour"), "user")
    ring(client)
    assert_capped(ring(client, key="k"), 1)
    for name in redis.keys("LIMITS:*"):
        redis.pexpire(name, 1)
    sleep(0.05)  # the window ends
    later = ring(client, key="k")
    assert later.status_code == 202
    assert "Idempotency-Replayed" not in later.headers


def test_fifty_at_once_with_one_key_count_once(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    app = make_app(rate_limit_calls_user="1/hour", rate_limit_calls_destination="1/hour")
    client = signed_in(app, "user")
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: ring(client, key="k"), range(50)))
    assert set(statuses(answers)) == {202}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert redis.llen(keys.queue("default")) == 1
    assert counted(redis) == [1, 1]


def test_fifty_at_once_with_keys_of_their_own_are_as_many_as_may_be(
    make_app: Make, signed_in: Signed, redis: Redis
) -> None:
    client = signed_in(make_app(rate_limit_calls_user="20/hour"), "user")
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda number: ring(client, key=f"k{number}"), range(50)))
    assert sorted(statuses(answers)) == [202] * 20 + [429] * 30
    assert redis.llen(keys.queue("default")) == 20
    assert counted(redis) == [20]


def test_a_repeat_that_only_its_receipt_remembers_counts_nothing(
    make_app: Make, signed_in: Signed, redis: Redis, road: Road
) -> None:
    client = signed_in(make_app(rate_limit_calls_user="1/hour"), "user")
    first = ring(client, key="k")
    road.work()
    redis.delete(keys.job(first.get_json()["id"]))
    again = ring(client, key="k")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert again.get_json()["status"] == "succeeded"
    assert redis.llen(keys.queue("default")) == 0
    assert counted(redis) == [1]


def test_what_is_refused_for_another_reason_counts_nothing(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    changes = {"rate_limit_calls_user": "9/hour", "max_queue_depth": 1, "call_countries": ("US",)}
    client = signed_in(make_app(**changes), "user")
    answers = [ring(client), ring(client), ring(client, {"number": "1"}), ring(client, {"number": "+4915005550006"})]
    assert statuses(answers) == [202, 503, 422, 422]
    assert counted(redis) == [1]


def test_an_empty_setting_is_no_limit(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    client = signed_in(make_app(rate_limit_calls_user="", rate_limit_calls_destination=""), "user")
    assert set(statuses([ring(client) for _ in range(5)])) == {202}
    assert counted(redis) == []


def test_an_accepted_write_tells_of_its_senders_own_limit(make_app: Make, signed_in: Signed) -> None:
    client = signed_in(make_app(rate_limit_user="9/minute", rate_limit_calls_user="1/hour"), "user")
    taken = ring(client)
    assert (taken.headers["X-RateLimit-Limit"], taken.headers["X-RateLimit-Remaining"]) == ("9", "8")
    assert_capped(ring(client), 1)
    assert client.get("/v1/jobs").headers["X-RateLimit-Remaining"] == "6", "what was refused was a request all the same"


def test_no_counter_is_named_after_a_number(make_app: Make, signed_in: Signed, redis: Redis) -> None:
    ring(signed_in(make_app(rate_limit_calls_user="9/hour", rate_limit_calls_destination="9/hour"), "user"))
    assert len(redis.keys("LIMITS:*")) == 2
    assert not redis.keys("*5550006*")


def test_a_kind_may_refuse_by_settings_before_anything_is_queued(
    make_app: Make, signed_in: Signed, redis: Redis
) -> None:
    far = {"number": "+4915005550006"}
    assert ring(signed_in(make_app(call_countries=()), "user"), far).status_code == 202
    refused = ring(signed_in(make_app(call_countries=("US",)), "user"), far)
    assert (refused.status_code, refused.get_json()["code"]) == (422, "validation_failed")
    assert [error["field"] for error in refused.get_json()["errors"]] == ["number"]
    assert redis.llen(keys.queue("default")) == 1
