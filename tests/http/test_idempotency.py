"""One key, one job: however often, at once or after it was done (CONTRACT.md §2)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from flask import Flask

from api.services import NAME, Services
from jobs.kernel import keys
from tests.http.conftest import ORDER, Client
from tests.road import Road

Signed = Callable[[Flask, str], Client]
KEY = {"Idempotency-Key": "key-1"}


def test_the_same_key_and_body_give_the_same_job(user: Client) -> None:
    first = user.post("/v1/orders", ORDER, headers=KEY)
    again = user.post("/v1/orders", ORDER, headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.get_json() == first.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert UUID(first.get_json()["id"]).version == 8


def test_fifty_posts_at_once_with_one_key_are_one_job(app: Flask, signed_in: Signed) -> None:
    def post(_: int) -> tuple[int, str, bool]:
        answer = signed_in(app, "user").post("/v1/orders", ORDER, headers=KEY)
        return answer.status_code, answer.get_json()["id"], "Idempotency-Replayed" in answer.headers

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(post, range(50)))
    assert {status for status, _, _ in answers} == {202}
    assert len({job_id for _, job_id, _ in answers}) == 1
    assert sum(not replayed for _, _, replayed in answers) == 1
    own: Services = app.extensions[NAME]
    assert own.redis.llen("rq:queue:orders") == 1


def test_a_key_that_has_outlived_its_job_makes_nothing_anew(
    user: Client, road: Road, execute: Callable[..., object]
) -> None:
    job = user.post("/v1/orders", ORDER, headers=KEY).get_json()
    road.work()
    execute("UPDATE receipts SET submitted_at = now() - interval '91 days', finished_at = now() - interval '91 days'")
    execute("UPDATE orders SET created_at = now() - interval '91 days', updated_at = now() - interval '91 days'")
    road.submit("upkeep.prune", owner=None)
    road.work()
    road.redis.delete(keys.job(job["id"]))
    assert user.get(job["links"]["self"]).status_code == 404
    again = user.post("/v1/orders", ORDER, headers=KEY)
    assert (again.status_code, again.get_json()["id"]) == (202, job["id"])
    assert "Idempotency-Replayed" not in again.headers
    road.work()
    found = user.get(job["links"]["self"]).get_json()
    assert (found["status"], found["attempts"], found["error"]["code"]) == ("rejected", 1, "idempotency_key_expired")
    assert user.get(job["links"]["resource"]).get_json()["version"] == 1


@pytest.mark.parametrize("change", ["body", "route", "run_at", "if_match"])
def test_a_key_is_good_for_one_request_only(user: Client, order_of: Callable[[str], str], change: str) -> None:
    path = f"/v1/orders/{order_of('user')}"
    assert user("PUT", path, json=ORDER, headers=KEY).status_code == 202
    answer = {
        "body": lambda: user("PUT", path, json=ORDER | {"total_fee": "7"}, headers=KEY),
        "route": lambda: user("PUT", f"/v1/orders/{order_of('user')}", json=ORDER, headers=KEY),
        "run_at": lambda: user("PUT", f"{path}?run_at=2020-01-01T00:00:00Z", json=ORDER, headers=KEY),
        "if_match": lambda: user("PUT", path, json=ORDER, headers=KEY | {"If-Match": '"v1"'}),
    }[change]()
    assert (answer.status_code, answer.get_json()["code"]) == (422, "idempotency_key_reused")


def test_a_body_that_says_the_same_otherwise_is_the_same(user: Client) -> None:
    user.post("/v1/orders", {"services": ["123"], "total_fee": 100}, headers=KEY)
    again = user.raw(b'{"total_fee": "100",   "services": ["123"]}', headers=KEY)
    assert again.status_code == 202
    assert again.headers["Idempotency-Replayed"] == "true"


def test_anothers_key_is_unrelated(user: Client, other: Client) -> None:
    one = user.post("/v1/orders", ORDER, headers=KEY)
    two = other.post("/v1/orders", ORDER | {"total_fee": "7"}, headers=KEY)
    assert (one.status_code, two.status_code) == (202, 202)
    assert one.get_json()["id"] != two.get_json()["id"]
    assert "Idempotency-Replayed" not in two.headers


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é"])
def test_a_key_is_1_to_255_printable_characters(user: Client, key: str) -> None:
    answer = user.post("/v1/orders", ORDER, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json()["errors"]] == ["Idempotency-Key"]


@pytest.mark.parametrize("key", ["x", "x" * 255, "a key, with spaces & signs!~"])
def test_a_long_key_and_an_odd_one_are_good(user: Client, key: str) -> None:
    assert user.post("/v1/orders", ORDER, headers={"Idempotency-Key": key}).status_code == 202
