"""A queue is paused until somebody resumes it, whatever is restarted meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.stack import Stack
from tests.processes import until
from tests.system.client import Client


@pytest.fixture
def admin(stack: Stack) -> Iterator[Client]:
    somebody = stack.person("admin")
    yield somebody
    somebody("POST", "/v1/queues/orders/resume")
    somebody.close()


def paused(admin: Client) -> list[str]:
    answer = admin.get("/v1/queues")
    assert answer.status_code == 200, answer.text
    return [row["name"] for row in answer.json()["data"] if row["paused"]]


def test_a_pause_outlives_a_restart_of_everything(stack: Stack, admin: Client, user: Client) -> None:
    with ExitStack() as running:
        processes = [running.enter_context(stack.workers(1)), running.enter_context(stack.scheduler())]
        before = user.until_final(user.placed("before")["id"])
        assert before["status"] == "succeeded"
        assert admin("POST", "/v1/queues/orders/pause").json()["paused"] is True
        held = user.placed("held")
        running.callback(restart, stack)
        stack.stop_api(processes)
        stack.redis.kill()
        stack.postgres.stop("fast")
    with stack.workers(2), stack.scheduler():
        assert paused(admin) == ["orders"]
        passing = user("POST", "/v1/tasks", json={"title": "Of another queue"}).json()
        assert user.until_final(passing["id"])["status"] == "succeeded"
        until(lambda: admin.get("/v1/queues/orders").json()["workers"] == 2)
        assert user.job(held["id"])["status"] == "queued"
        assert admin("POST", "/v1/queues/orders/resume").json()["paused"] is False
        assert user.until_final(held["id"])["status"] == "succeeded"
    assert stack.effects(user) == {before["id"]: 1, held["id"]: 1}
    assert [line["event"] for line in stack.lines("api") if line.get("by") == str(admin.owner)] == [
        "queue_paused",
        "queue_resumed",
    ]


def restart(stack: Stack) -> None:
    """What was stopped goes on, in the order of a machine that starts."""
    if stack.postgres.pid is None:
        stack.postgres.start()
    stack.start_redis()
    stack.start_api()
