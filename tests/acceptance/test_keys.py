"""One Idempotency-Key, asked with again and again, by many at once (CONTRACT.md §2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.acceptance.stack import Stack
from tests.system.client import Client, order
from tests.system.threads import at_once

KEY = {"Idempotency-Key": "the-one-and-only"}
REPLAYED = "Idempotency-Replayed"


@pytest.fixture(scope="module", autouse=True)
def workers(stack: Stack) -> Iterator[None]:
    with stack.workers(2):
        yield


def refusal(answer: requests.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["code"]


def test_50_parallel_posts_with_one_key_make_one_job(stack: Stack, user: Client) -> None:
    answers = at_once(lambda _: user.post(order("c"), headers=KEY), 50)
    assert {answer.status_code for answer in answers} == {202}
    (job_id,) = {answer.json()["id"] for answer in answers}
    assert sorted(answer.headers.get(REPLAYED, "") for answer in answers) == ["", *["true"] * 49]
    assert [job["id"] for job in user.listed()] == [job_id]
    assert user.until_final(job_id)["status"] == "succeeded"
    stack.assert_each_once(user, [job_id])


def test_50_parallel_posts_with_one_key_and_other_bodies_make_one_job(stack: Stack, user: Client) -> None:
    answers = at_once(lambda number: user.post(order("c", total_fee=f"{number}.00"), headers=KEY), 50)
    taken = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused = [refusal(answer) for answer in answers if answer.status_code != 202]
    assert len(taken) == 1
    assert refused == [(422, "idempotency_key_reused")] * 49
    user.until_final(taken[0])
    stack.assert_each_once(user, taken)


def test_a_key_belongs_to_one_user_and_one_request(stack: Stack, user: Client) -> None:
    other = stack.person()
    placed = user.placed("first")
    user.until_final(placed["id"])
    first = user.post(order("c"), headers=KEY)
    theirs = other.post(order("c"), headers=KEY)
    assert (first.status_code, theirs.status_code) == (202, 202)
    assert REPLAYED not in theirs.headers
    assert theirs.json()["id"] != first.json()["id"]
    mine, his = user.until_final(first.json()["id"]), other.until_final(theirs.json()["id"])
    assert (mine["status"], his["status"]) == ("succeeded", "succeeded")
    for method, path, body in (
        ("POST", "/v1/orders", order("another")),
        ("POST", "/v1/orders?run_at=2026-01-01T00:00:00Z", order("c")),
        ("PUT", placed["links"]["resource"], order("c")),
        ("DELETE", placed["links"]["resource"], None),
    ):
        assert refusal(user(method, path, json=body, headers=KEY)) == (422, "idempotency_key_reused")
    other.close()


def test_a_key_answers_with_its_job_after_the_job_is_final_and_redis_is_empty(stack: Stack, user: Client) -> None:
    job_id = user.post(order("c"), headers=KEY).json()["id"]
    final = user.until_final(job_id)
    assert final["status"] == "succeeded"
    for lost in (False, True):
        if lost:
            stack.lose_redis_data()
        answers = at_once(lambda _: user.post(order("c"), headers=KEY), 10)
        assert {(answer.status_code, answer.headers.get(REPLAYED)) for answer in answers} == {(202, "true")}
        assert all(answer.json() == final for answer in answers)
        assert refusal(user.post(order("another"), headers=KEY)) == (422, "idempotency_key_reused")
    stack.assert_each_once(user, [job_id])
