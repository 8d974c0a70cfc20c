"""Queues as those see them who operate them, and what pausing one changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import structlog
from flask import Flask
from redis import Redis

from api import queues
from api.queue_schemas import Queue, QueuePage
from jobs.kernel import keys
from jobs.kernel.outcome import State
from jobs.kernel.policy import QUEUES
from jobs.kernel.submit import new_id
from jobs.kernel.times import micros
from tests.conftest import Person
from tests.http.conftest import ORDER, Client
from tests.processes import until
from tests.road import Road
from workers.registration import Registration

NONE = {"succeeded": 0, "rejected": 0, "failed": 0, "canceled": 0}
BUCKET = 10
"""Seconds."""


def shown(admin: Client, name: str = "orders") -> dict[str, Any]:
    answer = admin.get(f"/v1/queues/{name}")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    Queue.model_validate_json(answer.get_data())
    found: dict[str, Any] = answer.get_json()
    return found


def listed(admin: Client, query: str = "") -> dict[str, Any]:
    answer = admin.get(f"/v1/queues{query}")
    assert answer.status_code == 200
    QueuePage.model_validate_json(answer.get_data())
    found: dict[str, Any] = answer.get_json()
    return found


def waits(redis: Redis, lane: str, seconds_ago: float, **more: Any) -> str:
    """Put a job on a lane as if it had been submitted so long ago."""
    job_id = str(new_id())
    created = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    redis.hset(keys.job(job_id), mapping={"created_at": created, "state": "queued", "status": "queued", **more})
    redis.rpush(lane, job_id)
    return job_id


def test_queues_with_nothing_in_them_are_all_there(admin: Client) -> None:
    found = listed(admin)
    assert [(row["name"], row["way"]) for row in found["data"]] == list(QUEUES.items())
    nothing = {"depth": 0, "running": 0, "done_per_minute": 0, "failed_per_minute": 0, "workers": 0}
    nothing |= {"depth_by_priority": {"high": 0, "normal": 0, "low": 0}, "totals": NONE}
    for row in found["data"]:
        assert row == {"name": row["name"], "way": row["way"], "paused": False, "oldest_age_seconds": None, **nothing}
    assert found["meta"] == {"limit": 20, "next_cursor": None, "scheduled": 0}


def test_a_queue_tells_what_waits_in_it_what_runs_and_what_came_of_the_rest(road: Road, admin: Client) -> None:
    for number in range(4):
        road.order(f"c{number}")
    road.order("c0")  # too soon after the first
    road.work(5)
    road.order("running")
    road.reserve(1)
    for number in range(3):
        road.order(f"d{number}")
    road.order("later", run_at=datetime.now(UTC) + timedelta(hours=1))
    found = shown(admin)
    assert (found["depth"], found["depth_by_priority"]) == (3, {"high": 0, "normal": 3, "low": 0})
    assert (found["running"], found["totals"]) == (1, NONE | {"succeeded": 4, "rejected": 1})
    assert 0 <= found["oldest_age_seconds"] < 60
    every = listed(admin)
    assert [row for row in every["data"] if row["depth"]] == [shown(admin) | {"oldest_age_seconds": _age(every)}]
    assert every["meta"]["scheduled"] == 1


def _age(page: dict[str, Any]) -> float:
    (age,) = (row["oldest_age_seconds"] for row in page["data"] if row["depth"])
    return float(age)


def test_jobs_of_all_priorities_count_and_the_oldest_head_tells_the_age(redis: Redis, admin: Client) -> None:
    high, normal, low = keys.lanes("tasks")
    for lane, ages in ((high, [5]), (normal, [100, 4000]), (low, [200, 1])):
        for age in ages:
            waits(redis, lane, age)
    found = shown(admin, "tasks")
    assert (found["depth"], found["depth_by_priority"]) == (5, {"high": 1, "normal": 2, "low": 2})
    assert 200 <= found["oldest_age_seconds"] < 260, "behind the head nobody looks"


def test_a_job_is_as_old_as_its_due_time_where_it_was_to_wait(redis: Redis, admin: Client) -> None:
    due = datetime.now(UTC) - timedelta(seconds=50)
    waits(redis, keys.queue("orders"), 7200, due=micros(due))
    assert 50 <= shown(admin)["oldest_age_seconds"] < 110


@pytest.mark.parametrize(
    "gone",
    [{"state": "canceled", "status": "canceled"}, {"created_at": "rubbish"}, {"due": "rubbish"}, "hash", "type"],
    ids=["canceled", "created", "due", "no hash", "no such type"],
)
def test_what_no_worker_will_take_from_the_head_tells_no_age(redis: Redis, admin: Client, gone: Any) -> None:
    job_id = waits(redis, keys.queue("orders"), 3600)
    if isinstance(gone, dict):
        redis.hset(keys.job(job_id), mapping=gone)
    else:
        redis.delete(keys.job(job_id))
    if gone == "type":
        redis.set(keys.job(job_id), "a string")
    assert (shown(admin)["depth"], shown(admin)["oldest_age_seconds"]) == (1, None)
    if gone not in ({"created_at": "rubbish"}, {"due": "rubbish"}):
        waits(redis, keys.queue("orders"), 30)
        assert 30 <= shown(admin)["oldest_age_seconds"] < 90


def test_rates_are_of_the_last_full_minute(redis: Redis, admin: Client) -> None:
    until(lambda: redis.time()[0] % BUCKET < BUCKET - 3)
    now = redis.time()[0] // BUCKET
    for back, weight in enumerate((1000, 1, 1, 1, 1, 1, 1, 1000)):
        counts = {"succeeded": 10 * weight, "rejected": weight, "failed": 2 * weight, "canceled": weight}
        redis.hset(keys.rate("orders", now - back), mapping=counts)
    redis.hset(keys.rate("tasks", now - 1), mapping={"succeeded": 7})
    found = {row["name"]: (row["done_per_minute"], row["failed_per_minute"]) for row in listed(admin)["data"]}
    assert found == dict.fromkeys(QUEUES, (0, 0)) | {"orders": (84, 12), "tasks": (7, 0)}


def test_workers_that_live_are_counted_where_they_work(road: Road, redis: Redis, admin: Client) -> None:
    for name, names in (("a", ["orders", "tasks"]), ("b", ["orders"]), ("dead", ["orders"]), ("silent", ["orders"])):
        registration = Registration(road.redis, names, name)
        registration.sign_on()
        if name == "dead":
            registration.sign_off()
    redis.hset(keys.worker("silent"), "last_heartbeat", "2026-01-31T09:30:00.000000Z")
    found = {row["name"]: row["workers"] for row in listed(admin)["data"]}
    assert found == dict.fromkeys(QUEUES, 0) | {"orders": 2, "tasks": 1}


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the views of queues have logged."""
    monkeypatch.setattr(queues, "log", structlog.get_logger())
    with structlog.testing.capture_logs() as lines:
        yield lines


def test_a_paused_queue_accepts_and_is_left_alone_until_it_is_resumed(
    admin: Client, user: Client, road: Road, people: dict[str, Person], logged: list[Any]
) -> None:
    for _ in range(2):
        paused = admin.post("/v1/queues/orders/pause")
        assert (paused.status_code, paused.get_json()) == (200, shown(admin))
        assert paused.get_json()["paused"] is True
    job = user.post("/v1/orders", ORDER)
    assert job.status_code == 202
    assert road.work() == 0
    assert [row["name"] for row in listed(admin)["data"] if row["paused"]] == ["orders"]
    for _ in range(2):
        resumed = admin.post("/v1/queues/orders/resume")
        assert (resumed.status_code, resumed.get_json()["paused"], resumed.get_json()["depth"]) == (200, False, 1)
    assert road.work() == 1
    assert road.status(UUID(job.get_json()["id"])) is State.SUCCEEDED
    by = {"by": str(people["admin"].id), "queue": "orders"}
    lines = [line for line in logged if line["event"] != "request"]
    changes = [(line["event"], line["changed"], {name: line[name] for name in by}) for line in lines]
    told = [("queue_paused", True), ("queue_paused", False), ("queue_resumed", True), ("queue_resumed", False)]
    assert changes == [(event, changed, by) for event, changed in told]


def test_in_a_full_redis_queues_can_be_paused_and_resumed(redis: Redis, admin: Client, road: Road) -> None:
    road.order("c")
    before = redis.config_get("maxmemory")["maxmemory"]
    redis.config_set("maxmemory", "100kb")
    try:
        answers = [admin.post(f"/v1/queues/orders/{change}") for change in ("pause", "resume")]
    finally:
        redis.config_set("maxmemory", before)
    assert [(answer.status_code, answer.get_json()["paused"]) for answer in answers] == [(200, True), (200, False)]


@pytest.mark.parametrize("name", ["nowhere", "ORDERS", "orders.high", "orders%20", "%00"])
@pytest.mark.parametrize(("method", "change"), [("GET", ""), ("POST", "/pause"), ("POST", "/resume")])
def test_a_queue_that_is_none_is_not_found(admin: Client, redis: Redis, name: str, method: str, change: str) -> None:
    answer = admin(method, f"/v1/queues/{name}{change}")
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")
    assert redis.exists(keys.PAUSED) == 0


def test_the_list_has_pages(admin: Client) -> None:
    names, query = [], "?limit=3"
    for size in (3, 3, 2):
        found = listed(admin, query)
        assert len(found["data"]) == size
        names += [row["name"] for row in found["data"]]
        query = f"?limit=3&cursor={found['meta']['next_cursor']}"
    assert (names, found["meta"]["next_cursor"]) == (list(QUEUES), None)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=x", "sort=name"])
def test_what_the_list_cannot_be_asked_is_refused(admin: Client, query: str) -> None:
    answer = admin.get(f"/v1/queues?{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "validation_failed")
    assert [error["field"] for error in answer.get_json()["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/orders"), ("POST", "/orders/pause")])
def test_asking_of_queues_counts_as_all_asking_does(
    make_app: Callable[..., Flask], signed_in: Callable[[Flask, str], Client], redis: Redis, method: str, path: str
) -> None:
    admin = signed_in(make_app(rate_limit_user="1/minute"), "admin")
    assert admin.get("/v1/jobs").status_code == 200
    answer = admin(method, f"/v1/queues{path}")
    assert (answer.status_code, answer.get_json()["code"]) == (429, "rate_limited")
    assert redis.exists(keys.PAUSED) == 0
