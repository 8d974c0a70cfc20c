"""Jobs, read: one, and the list."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from jobs.kernel import keys
from tests.conftest import Person
from tests.http.conftest import ORDER, Client, statements
from tests.road import Road
from workers.work import opened


@pytest.fixture
def receipt_of(execute: Callable[..., None], people: dict[str, Person]) -> Callable[..., str]:
    """Put the receipt of a final job of somebody's into the table; its id."""

    def make(name: str, *, state: str = "succeeded", kind: str = "orders.place", ago: int = 0) -> str:
        job_id = str(uuid4())
        execute(
            "INSERT INTO receipts (id, owner_id, kind, state, run, attempts, submitted_at, finished_at, result)"
            " VALUES (%s, %s, %s, %s, 1, 1, %s, now(), '{\"id\": 1}')",
            job_id,
            str(people[name].id),
            kind,
            state,
            datetime.now(UTC) - timedelta(seconds=ago),
        )
        return job_id

    return make


def ids(client: Client, query: str = "") -> list[str]:
    answer = client.get(f"/v1/jobs{query}")
    assert answer.status_code == 200, answer.get_json()
    return [job["id"] for job in answer.get_json()["data"]]


def test_a_job_is_seen_by_its_owner_and_by_an_admin(user: Client, admin: Client) -> None:
    job = user.post("/v1/orders", ORDER).get_json()
    assert user.get(f"/v1/jobs/{job['id']}").get_json() == job
    assert admin.get(f"/v1/jobs/{job['id']}").get_json() == job


def test_a_strangers_job_looks_like_none(user: Client, other: Client, receipt_of: Callable[..., str]) -> None:
    queued = user.post("/v1/orders", ORDER).get_json()["id"]
    answers = [other.get(f"/v1/jobs/{name}") for name in (queued, receipt_of("user"), uuid4(), "nonsense")]
    problems = [answer.get_json() for answer in answers]
    for problem in problems:
        del problem["request_id"]
    assert {answer.status_code for answer in answers} == {404}
    assert all(problem == problems[0] for problem in problems)


def test_a_job_that_has_not_changed_is_not_sent_again(user: Client) -> None:
    job = user.post("/v1/orders", ORDER).get_json()
    tag = user.get(job["links"]["self"]).headers["ETag"]
    same = user.get(job["links"]["self"], headers={"If-None-Match": tag})
    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", tag)
    assert user.get(job["links"]["self"], headers={"If-None-Match": '"another"'}).status_code == 200


def test_a_running_job_shows_how_far_it_has_come(user: Client, road: Road) -> None:
    path = user.post("/v1/orders", ORDER).get_json()["links"]["self"]
    assert user.get(path).get_json()["progress"] is None
    (delivery,) = road.reserve()
    for done in (0, 3, 9):
        road.reports([opened(delivery)])(delivery.job_id, done, 9)
        job = user.get(path).get_json()
        assert (job["status"], job["progress"]) == ("running", {"done": done, "total": 9})
    (listed,) = user.get("/v1/jobs").get_json()["data"]
    assert listed["progress"] == {"done": 9, "total": 9}


def test_what_a_job_is_about_is_told_without_reading_its_body(
    user: Client, order_of: Callable[[str], str], redis: Redis
) -> None:
    order = f"/v1/orders/{order_of('user')}"
    paths = []
    for job in (user.post("/v1/orders", ORDER).get_json(), user("DELETE", order).get_json()):
        redis.hdel(keys.job(job["id"]), "data")
        assert user.get(job["links"]["self"]).get_json() == job
        paths.append(job["links"]["resource"])
    assert paths[1] == order
    assert [job["links"]["resource"] for job in user.get("/v1/jobs").get_json()["data"]] == paths[::-1]


def test_a_job_that_is_about_what_it_makes_is_no_larger_for_it(user: Client, redis: Redis) -> None:
    job = user.post("/v1/orders", ORDER).get_json()
    assert "target" not in {name.decode() for name in redis.hkeys(keys.job(job["id"]))}


def test_the_list_holds_what_is_on_its_way_and_what_is_final(user: Client, receipt_of: Callable[..., str]) -> None:
    old, older = receipt_of("user", ago=60), receipt_of("user", ago=120)
    new = user.post("/v1/orders", ORDER).get_json()["id"]
    assert ids(user) == [new, old, older]


def test_the_list_leaves_results_out_and_reads_none(app: Flask, user: Client, receipt_of: Callable[..., str]) -> None:
    receipt_of("user")
    with statements(app) as sent:
        (job,) = user.get("/v1/jobs").get_json()["data"]
    assert sent
    assert not any("receipts.result" in statement or "receipts.envelope" in statement for statement in sent)
    assert "result" not in job
    assert job["status"] == "succeeded"


def test_a_user_lists_their_own_and_an_admin_everybodys(
    user: Client, other: Client, admin: Client, receipt_of: Callable[..., str]
) -> None:
    mine, theirs = receipt_of("user", ago=5), other.post("/v1/orders", ORDER).get_json()["id"]
    assert ids(user) == [mine]
    assert ids(other) == [theirs]
    assert ids(admin) == [theirs, mine]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?status=queued", ["queued"]),
        ("?status=rejected", ["rejected"]),
        ("?status=succeeded", ["deleted"]),
        ("?status=running", []),
        ("?kind=orders.delete", ["deleted"]),
        ("?kind=orders.place", ["queued", "rejected"]),
        ("?kind=orders.place&status=rejected", ["rejected"]),
        ("?kind=no.such", []),
    ],
)
def test_the_list_is_filtered(user: Client, receipt_of: Callable[..., str], query: str, found: list[str]) -> None:
    known = {
        "queued": user.post("/v1/orders", ORDER).get_json()["id"],
        "rejected": receipt_of("user", state="rejected", ago=10),
        "deleted": receipt_of("user", kind="orders.delete", ago=20),
    }
    assert ids(user, query) == [known[name] for name in found]


def test_pages_hold_every_job_once_while_jobs_are_added(user: Client, receipt_of: Callable[..., str]) -> None:
    final = [receipt_of("user", ago=100 + number) for number in range(4)]
    live = [user.post("/v1/orders", ORDER).get_json()["id"] for _ in range(3)]
    seen: list[str] = []
    query = "?limit=2"
    while True:
        page = user.get(f"/v1/jobs{query}").get_json()
        seen += [job["id"] for job in page["data"]]
        assert page["meta"]["limit"] == 2
        if page["meta"]["next_cursor"] is None:
            break
        user.post("/v1/orders", ORDER)
        query = f"?limit=2&cursor={page['meta']['next_cursor']}"
    assert seen == [*reversed(live), *final]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "status=done",
        "kind=NO!",
        "cursor=nonsense",
        "cursor=",
        "sort=x",
        "limit=1&limit=2",
    ],
)
def test_a_query_that_is_not_understood_is_refused(user: Client, query: str) -> None:
    answer = user.get(f"/v1/jobs?{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "validation_failed")
    assert {error["field"] for error in answer.get_json()["errors"]} == {query.partition("=")[0]}


def test_a_cursor_is_good_for_its_list_only(user: Client, receipt_of: Callable[..., str]) -> None:
    receipt_of("user"), receipt_of("user")
    cursor = user.get("/v1/jobs?limit=1").get_json()["meta"]["next_cursor"]
    assert user.get(f"/v1/jobs?limit=1&cursor={cursor}").status_code == 200
    assert user.get(f"/v1/jobs?status=queued&cursor={cursor}").status_code == 422


@pytest.mark.usefixtures("worker")
def test_waiting_for_a_job_ends_when_it_is_final(user: Client) -> None:
    due = (datetime.now(UTC) + timedelta(seconds=60)).isoformat().replace("+00:00", "Z")
    job = user.post("/v1/orders", ORDER).get_json()
    answer = user.get(job["links"]["self"], headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.get_json()["status"]) == (200, "succeeded")
    assert answer.headers["Preference-Applied"] == "wait=20"
    scheduled = user.post(f"/v1/orders?run_at={due}", ORDER).get_json()
    began = monotonic()
    answer = user.get(scheduled["links"]["self"], headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.get_json()["status"]) == (200, "scheduled")
    assert "Preference-Applied" not in answer.headers
    assert 0.9 < monotonic() - began < 3


def test_waiting_for_what_is_final_takes_no_time(user: Client, receipt_of: Callable[..., str]) -> None:
    began = monotonic()
    answer = user.get(f"/v1/jobs/{receipt_of('user')}", headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=20")
    assert monotonic() - began < 1


def test_a_wait_that_is_not_understood_is_refused(user: Client, receipt_of: Callable[..., Any]) -> None:
    assert user.get(f"/v1/jobs/{receipt_of('user')}", headers={"Prefer": "wait=31"}).status_code == 422
