"""Streams and waiters scale: one process of the API serves everybody else beside 700 who only listen (CONTRACT.md §2)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from jobs.kernel import keys
from tests.acceptance.stack import Stack
from tests.processes import until
from tests.system.client import Client
from tests.system.crowd import Answer, Crowd, last_of
from tests.system.threads import by_threads

JOBS, CALLS, STREAMS_EACH, WAITERS = 200, 50, 2, 200
PLAIN = 200
ADD_CALLS = """
INSERT INTO calls (id, owner_id, phone_number, customer_name, workflow, status, created_at, updated_at)
SELECT id, %s::uuid, '+1500' || (1000000 + row_number() OVER ()), 'Ada', 'support', 'ringing', now(), now()
FROM unnest(%s::uuid[]) AS id
"""
END_CALLS = "UPDATE calls SET status = 'completed', version = version + 1"


def scheduled(user: Client, names: str, count: int) -> list[str]:
    """Jobs of orders that are due tomorrow."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    return by_threads(8, lambda number: user.placed(f"{names}-{number}", f"?run_at={tomorrow}")["id"], range(count))


def let_all_be_due(stack: Stack) -> None:
    ids = stack.in_redis(lambda redis: redis.zrange(keys.SCHEDULED, 0, -1))
    stack.in_redis(lambda redis: redis.zadd(keys.SCHEDULED, dict.fromkeys(ids, 0), xx=True))


def plain_traffic(user: Client, number: int) -> str:
    """What people do: place an order, look at orders, and see what became of the job."""
    job = user.placed(f"plain-{number}")
    assert user.get("/v1/orders").status_code == 200
    assert user.until_final(job["id"])["status"] == "succeeded"
    assert user.get(job["links"]["resource"]).status_code == 200
    return str(job["id"])


def last_statuses(answers: list[Answer]) -> set[tuple[int, bool, str]]:
    return {(answer.status, answer.over, json.loads(last_of(answer.body))["status"]) for answer in answers}


def test_500_streams_and_200_waiters_keep_nobody_from_being_served(tmp_path: Path) -> None:
    with Stack.started(tmp_path, api_processes=1) as stack, stack.workers(2), stack.scheduler():
        user, calls = stack.person(), [str(uuid4()) for _ in range(CALLS)]
        stack.rows(ADD_CALLS, str(user.owner), calls)
        followed, waited_for = scheduled(user, "followed", JOBS), scheduled(user, "waited", WAITERS)
        paths = [f"/v1/jobs/{name}/events" for name in followed] + [f"/v1/calls/{name}/events" for name in calls]
        own = {"Authorization": f"Bearer {user.token}"}

        def announced() -> int:
            return int(stack.in_redis(lambda redis: redis.scard("millrace:watched"))) - JOBS

        with Crowd(stack.port, own) as streams, Crowd(stack.port, own | {"Prefer": "wait=30"}) as waiters:
            streams.ask(paths * STREAMS_EACH, lambda: streams.begun)
            until(lambda: announced() == 0)
            waiters.ask([f"/v1/jobs/{name}" for name in waited_for], announced)
            placed = by_threads(8, lambda number: plain_traffic(user, number), range(PLAIN))
            assert (streams.waiting, waiters.waiting) == (len(paths) * STREAMS_EACH, WAITERS), "they are still there"
            let_all_be_due(stack)
            stack.rows(END_CALLS)
            heard, told = streams.until_over(60), waiters.until_over(60)
        assert last_statuses(heard[: len(followed)]) == {(200, True, "succeeded")}
        assert last_statuses(heard) == {(200, True, "succeeded"), (200, True, "completed")}
        assert [json.loads(answer.body)["id"] for answer in told] == waited_for
        assert {(answer.status, json.loads(answer.body)["status"]) for answer in told} == {(200, "succeeded")}
        stack.assert_each_once(user, [*followed, *waited_for, *placed])
        assert stack.count("api", "requests_refused") == 0
