"""What a write is answered with, and what it may ask for beside its body (CONTRACT.md §2)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from api.services import NAME, Services
from tests.http.conftest import ORDER, Client

Signed = Callable[[Flask, str], Client]
KEY = {"Idempotency-Key": "key-1"}


def redis_of(app: Flask) -> Redis:
    own: Services = app.extensions[NAME]
    return own.redis


def test_a_write_is_accepted_as_a_job(user: Client) -> None:
    before = datetime.now(UTC)
    answer = user.post("/v1/orders", ORDER)
    job = answer.get_json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert "Idempotency-Replayed" not in answer.headers
    assert job["links"] == {
        "self": f"/v1/jobs/{job['id']}",
        "events": f"/v1/jobs/{job['id']}/events",
        "resource": f"/v1/orders/{job['id']}",
    }
    submitted = datetime.fromisoformat(job["submitted_at"])
    assert job["submitted_at"].endswith("Z")
    assert before - timedelta(seconds=1) < submitted < before + timedelta(seconds=5)
    empty = ("run_at", "started_at", "finished_at", "progress", "result", "error")
    assert {name: job[name] for name in empty} == dict.fromkeys(empty)
    assert (job["kind"], job["status"], job["attempts"]) == ("orders.place", "queued", 0)


def test_a_fresh_answer_and_a_later_look_show_the_same_job(user: Client) -> None:
    job = user.post("/v1/orders", ORDER).get_json()
    assert user.get(job["links"]["self"]).get_json() == job


@pytest.mark.parametrize(("method", "body"), [("PUT", ORDER), ("PATCH", {"total_fee": 1}), ("DELETE", None)])
def test_a_write_to_an_order_names_it(user: Client, order_of: Callable[[str], str], method: str, body: object) -> None:
    order_id = order_of("user")
    answer = user(method, f"/v1/orders/{order_id}", **({"json": body} if body else {}))
    assert answer.status_code == 202
    assert answer.get_json()["links"]["resource"] == f"/v1/orders/{order_id}"


@pytest.mark.parametrize(("method", "body"), [("PUT", ORDER), ("PATCH", {"total_fee": 1}), ("DELETE", None)])
def test_a_strangers_order_looks_like_none(
    user: Client, admin: Client, order_of: Callable[[str], str], method: str, body: object
) -> None:
    more = {"json": body} if body else {}
    foreign, absent = f"/v1/orders/{order_of('other')}", f"/v1/orders/{uuid4()}"
    answers = [user(method, path, **more) for path in (foreign, absent, "/v1/orders/nonsense")]
    problems = [answer.get_json() for answer in answers]
    for problem in problems:
        del problem["request_id"]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert problems[0] == problems[1] == problems[2]
    assert admin(method, foreign, **more).status_code == 202


def test_run_at_makes_a_scheduled_job(user: Client) -> None:
    due = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    answer = user.post(f"/v1/orders?run_at={due}Z", ORDER)
    job = answer.get_json()
    assert (answer.status_code, job["status"], job["run_at"]) == (202, "scheduled", f"{due}.000000Z")
    assert user.get(job["links"]["self"]).get_json() == job


@pytest.mark.parametrize("offset", ["%2B02:00", "+02:00", "-05:30", ".123456Z", "z"])
def test_run_at_may_have_any_offset(user: Client, offset: str) -> None:
    due = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S")
    assert user.post(f"/v1/orders?run_at={due}{offset}", ORDER).get_json()["status"] == "scheduled"


def test_run_at_in_the_past_is_now(user: Client) -> None:
    job = user.post("/v1/orders?run_at=2020-01-01T00:00:00Z", ORDER).get_json()
    assert (job["status"], job["run_at"]) == ("queued", None)


@pytest.mark.parametrize(
    "query",
    [
        "run_at=",
        "run_at=soon",
        "run_at=2026-01-01",
        "run_at=2026-01-01T00:00:00",
        "run_at=0001-01-01T00:00:00%2B01:00",
        "run_at=9999-01-01T00:00:00Z",
        "run_at=2020-01-01T00:00:00Z&run_at=2020-01-01T00:00:00Z",
        "colour=red",
    ],
)
def test_a_query_that_is_not_understood_is_refused(user: Client, query: str) -> None:
    answer = user.post(f"/v1/orders?{query}", ORDER)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.get_json()["errors"]} == {query.partition("=")[0]}


@pytest.mark.parametrize("days", [29, 31])
def test_run_at_is_at_most_30_days_ahead(user: Client, days: int) -> None:
    due = (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert user.post(f"/v1/orders?run_at={due}", ORDER).status_code == (202 if days < 30 else 422)


@pytest.mark.parametrize("prefer", ["wait=31", "wait=-1", "wait=x", "wait=1.5", "wait="])
def test_a_wait_is_0_to_30_seconds(user: Client, prefer: str) -> None:
    answer = user.post("/v1/orders", ORDER, headers={"Prefer": prefer})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json()["errors"]] == ["Prefer"]


@pytest.mark.parametrize("prefer", ["wait=0", "respond-async", "return=minimal, wait=0"])
def test_other_preferences_are_passed_over(user: Client, prefer: str) -> None:
    assert user.post("/v1/orders", ORDER, headers={"Prefer": prefer}).status_code == 202


def test_a_wait_in_vain_answers_202_in_time(user: Client) -> None:
    began = monotonic()
    answer = user.post("/v1/orders", ORDER, headers={"Prefer": "wait=1"})
    assert 0.9 < monotonic() - began < 3
    assert (answer.status_code, answer.get_json()["status"]) == (202, "queued")
    assert "Preference-Applied" not in answer.headers


@pytest.mark.usefixtures("worker")
def test_a_wait_answers_when_the_job_is_final(user: Client, signed_in: Signed, redis: Redis) -> None:
    answer = user.post("/v1/orders", ORDER, headers={"Prefer": "wait=20"} | KEY)
    job = answer.get_json()
    assert (answer.status_code, job["status"]) == (200, "succeeded")
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert answer.headers["Location"] == job["links"]["self"]
    assert job["result"]["id"] == job["id"]

    began = monotonic()
    once_more = user.post("/v1/orders", ORDER | {"customer_id": "two"}, headers={"Prefer": "wait=20"})
    assert once_more.status_code == 200
    assert monotonic() - began < 1, "it was found by looking, and not told"

    replayed = user.post("/v1/orders", ORDER, headers=KEY)
    assert (replayed.status_code, replayed.get_json()) == (202, job)
    redis.flushall()
    user = signed_in(user.app, "user")
    from_receipt = user.post("/v1/orders", ORDER, headers=KEY)
    assert (from_receipt.status_code, from_receipt.get_json()) == (202, job)
    assert from_receipt.headers["Idempotency-Replayed"] == "true"
    assert user.post("/v1/orders", ORDER | {"total_fee": 1}, headers=KEY).status_code == 422
    assert redis.llen("rq:queue:orders") == 0
    assert user.get(job["links"]["self"]).get_json() == job


@pytest.mark.usefixtures("worker")
def test_a_delete_that_was_done_can_be_asked_for_again(user: Client, order_of: Callable[[str], str]) -> None:
    path = f"/v1/orders/{order_of('user')}"
    first = user("DELETE", path, headers=KEY | {"Prefer": "wait=20"})
    again = user("DELETE", path, headers=KEY)
    assert (first.status_code, first.get_json()["status"]) == (200, "succeeded")
    assert (again.status_code, again.get_json()) == (202, first.get_json())
    assert user("DELETE", path).status_code == 404


@pytest.mark.parametrize(
    ("sent", "travels"),
    [
        (None, None),
        ("*", ("*",)),
        ('"v1"', ("v1",)),
        ('"v1", "v2"', ("v1", "v2")),
        ('W/"v1"', ()),
        ('W/"v1", "v2"', ("v2",)),
    ],
)
def test_if_match_travels_with_the_job(
    app: Flask, user: Client, order_of: Callable[[str], str], sent: str | None, travels: tuple[str, ...] | None
) -> None:
    from jobs.kernel.envelope import load

    headers = {} if sent is None else {"If-Match": sent}
    job = user("PATCH", f"/v1/orders/{order_of('user')}", json={"total_fee": 1}, headers=headers).get_json()
    envelope = load(redis_of(app).hget(f"rq:job:{job['id']}", "data"))
    assert envelope.get("if_match") == (None if travels is None else list(travels))


def test_the_request_id_travels_with_the_job(app: Flask, user: Client) -> None:
    from jobs.kernel.envelope import load

    job = user.post("/v1/orders", ORDER, headers={"X-Request-ID": "mine-1"}).get_json()
    assert load(redis_of(app).hget(f"rq:job:{job['id']}", "data"))["request_id"] == "mine-1"


def test_a_full_queue_is_told_to_come_back(make_app: Callable[..., Flask], signed_in: Signed) -> None:
    client = signed_in(make_app(max_queue_depth=1), "user")
    assert client.post("/v1/orders", ORDER).status_code == 202
    answer = client.post("/v1/orders", ORDER)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "queue_full")
    assert int(answer.headers["Retry-After"]) >= 1
