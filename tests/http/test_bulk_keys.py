"""The same lines again: each is the job that it was, also when all of them arrive twenty times at once (CONTRACT.md §2)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from redis import Redis

from jobs.kernel import keys
from tests.conftest import PASSWORD
from tests.http.bulks import Line, bulk, fields, ids, place, post, refusal, statuses
from tests.http.conftest import ORDER, Client
from tests.road import Road

Signed = Callable[[Flask, str], Client]
KEY = {"Idempotency-Key": "key-1"}


def keyed(count: int, **more: Any) -> list[Line | bytes]:
    return [place(f"customer-{number}", idempotency_key=f"key-{number}", **more) for number in range(count)]


def replayed(outcomes: list[Line]) -> list[bool]:
    return [outcome.get("replayed", False) for outcome in outcomes]


def test_the_same_lines_again_are_the_same_jobs(user: Client, redis: Redis) -> None:
    first, again = bulk(user, keyed(150)), bulk(user, keyed(150))
    assert ids(again) == ids(first)
    assert (replayed(first), replayed(again)) == ([False] * 150, [True] * 150)
    assert redis.llen(keys.queue("orders")) == 150
    assert {UUID(job).version for job in ids(first)} == {8}


@pytest.mark.parametrize("apart", [1, 150])
def test_a_key_that_is_used_twice_in_one_bulk_is_one_job(user: Client, redis: Redis, apart: int) -> None:
    lines = [place("same", idempotency_key="k"), *keyed(apart - 1), place("same", idempotency_key="k")]
    outcomes = bulk(user, lines)
    assert outcomes[0]["job"]["id"] == outcomes[-1]["job"]["id"]
    assert replayed(outcomes) == [False] * apart + [True]
    assert redis.llen(keys.queue("orders")) == apart
    other = bulk(user, [place("other", idempotency_key="k"), place("same", idempotency_key="k")])
    assert statuses(other) == [422, 202]
    assert refusal(other[0]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("change", ["body", "kind", "run_at", "target", "if_match"])
def test_a_key_is_good_for_one_request_only(user: Client, order_of: Callable[[str], str], change: str) -> None:
    line = {"kind": "orders.replace", "target": order_of("user"), "body": ORDER, "idempotency_key": "k"}
    changed = {
        "body": {"body": ORDER | {"total_fee": 7}},
        "kind": {"kind": "orders.amend"},
        "run_at": {"run_at": "2020-01-01T00:00:00Z"},
        "target": {"target": order_of("user")},
        "if_match": {"if_match": '"v1"'},
    }[change]
    assert refusal(bulk(user, [line, line | changed])[1]) == (422, "idempotency_key_reused")
    assert refusal(bulk(user, [line | changed])[0]) == (422, "idempotency_key_reused")


def test_priority_is_no_part_of_what_makes_two_lines_the_same(user: Client) -> None:
    line = place(idempotency_key="k")
    assert replayed(bulk(user, [line, line | {"priority": "high"}])) == [False, True]


def test_anothers_key_is_unrelated(user: Client, other: Client) -> None:
    mine, theirs = (bulk(client, keyed(3)) for client in (user, other))
    assert not set(ids(mine)) & set(ids(theirs))
    assert replayed(theirs) == [False] * 3


def test_a_repeat_tells_the_job_as_it_now_is_and_not_its_result(user: Client, redis: Redis, road: Road) -> None:
    first = bulk(user, keyed(3))
    waiting = bulk(user, keyed(3))
    road.work()
    done = bulk(user, keyed(4))
    for outcome, job_id in zip(waiting, ids(first), strict=True):
        job = user.get(f"/v1/jobs/{job_id}").get_json()
        del job["result"]
        assert job["status"] == "succeeded"
        assert outcome["job"] == job | {"status": "queued", "attempts": 0, "started_at": None, "finished_at": None}
        assert job in [one["job"] for one in done]
    assert replayed(done) == [True] * 3 + [False]
    redis.delete(*(keys.job(job_id) for job_id in ids(first)))
    assert bulk(user, keyed(3)) == done[:3], "by their receipts alone"


def test_a_delete_that_was_done_can_be_asked_for_again(
    user: Client, order_of: Callable[[str], str], road: Road
) -> None:
    lines = [{"kind": "orders.delete", "target": order_of("user"), "idempotency_key": f"k{n}"} for n in range(3)]
    first = bulk(user, lines)
    road.work()
    again = bulk(user, [*lines, {**lines[0], "idempotency_key": "another"}])
    assert ids(again[:3]) == ids(first)
    assert statuses(again) == [202, 202, 202, 404]


def test_the_same_password_under_the_same_key_is_the_same_request(admin: Client, redis: Redis) -> None:
    body = {"email": "new@example.com", "password": PASSWORD, "name": "New"}
    line = {"kind": "users.create", "body": body, "idempotency_key": "k"}
    another = {"kind": "users.create", "body": body | {"password": f"{PASSWORD}2"}, "idempotency_key": "k"}
    first, again, other = bulk(admin, [line, line, another])
    assert again["job"]["id"] == first["job"]["id"]
    assert refusal(other) == (422, "idempotency_key_reused")


def test_twenty_equal_bulks_at_once_make_each_job_once(app: Flask, signed_in: Signed, redis: Redis) -> None:
    def send(_: int) -> tuple[list[str], list[bool]]:
        outcomes = bulk(signed_in(app, "user"), keyed(120))
        return ids(outcomes), replayed(outcomes)

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(send, range(20)))
    assert len({tuple(jobs) for jobs, _ in answers}) == 1
    fresh = [sum(not again for again in places) for places in zip(*(found for _, found in answers), strict=True)]
    assert fresh == [1] * 120
    assert redis.llen(keys.queue("orders")) == 120


def test_a_key_of_the_bulk_is_one_of_each_line_that_has_none(user: Client, other: Client, redis: Redis) -> None:
    lines = [place("a"), place("b"), place("b"), place("c", idempotency_key="own"), *keyed(100)]
    first, again = bulk(user, lines, headers=KEY), bulk(user, lines, headers=KEY)
    assert ids(again) == ids(first)
    assert replayed(again) == [True] * len(lines)
    assert redis.llen(keys.queue("orders")) == len(lines)
    moved = bulk(user, [place("a"), place("x"), place("own", idempotency_key="key-1")], headers=KEY)
    assert (replayed(moved), refusal(moved[1])) == ([True, False, False], (422, "idempotency_key_reused"))
    assert replayed(bulk(user, lines[:3], headers={"Idempotency-Key": "key-2"})) == [False] * 3
    assert replayed(bulk(other, lines, headers=KEY)) == [False] * len(lines)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_key_is_1_to_255_printable_characters(user: Client, key: str) -> None:
    assert fields(bulk(user, [place(idempotency_key=key)])[0]) == ["idempotency_key"]
    answer = post(user, [place()], headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.get_json()["errors"][0]["field"]) == (422, "Idempotency-Key")
