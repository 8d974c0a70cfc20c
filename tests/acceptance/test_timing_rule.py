"""The order timing rule (CONTRACT.md §4), under many workers and through the real scheduler."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.acceptance.stack import Stack
from tests.system.client import FINAL, Client, Job
from tests.system.sightings import Sightings
from tests.system.threads import at_once

WINDOW = timedelta(seconds=2)
TICK = timedelta(microseconds=1)
DUE_WITHIN = timedelta(seconds=2 * 5)
"""CONTRACT.md §2 says ±2 s; here, five times that."""


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def watched(user: Client, job_id: str) -> tuple[Job, list[str]]:
    """A job that has become final, and the statuses that were seen on its way."""
    sightings, deadline = Sightings(), time.monotonic() + 60
    while (job := user.job(job_id))["status"] not in FINAL:
        sightings.see(job)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    sightings.see(job)
    assert sightings.wrong == []
    return job, sightings.statuses[job_id]


def test_of_200_parallel_orders_of_one_customer_exactly_one_succeeds(stack: Stack, user: Client) -> None:
    before, logged = deadlocks(stack), len(stack.lines("workers"))
    with stack.slow_commits(0.02), stack.workers(4, batch=5):
        jobs = at_once(lambda _: user.placed("the-customer"), 200)
        stack.until_done(user, {job["id"] for job in jobs})
    outcomes = Counter(stack.receipts(user).values())
    assert outcomes == {("succeeded", None): 1, ("rejected", "order_too_soon"): 199}
    assert list(stack.effects(user).values()) == [1]
    stack.assert_told_truly(user)
    lines = stack.lines("workers")[logged:]
    assert len({line["worker"] for line in lines if line["event"] == "job"}) == 4, "not every worker took part"
    assert [line for line in lines if line["event"] in ("job_raised", "database_unavailable")] == []
    assert deadlocks(stack) == before
    placed = next(user.job(job_id) for job_id in stack.effects(user))
    first_free = moment(placed["result"]["created_at"]) + timedelta(hours=3) + TICK
    refused = next(user.job(job["id"]) for job in jobs if job["id"] != placed["id"])
    assert moment(refused["error"]["allowed_at"]) == first_free
    assert 10_790 < refused["error"]["retry_after"] <= 10_801


def deadlocks(stack: Stack) -> Any:
    ((count,),) = stack.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return count


@pytest.fixture(scope="module")
def short_window(stack: Stack) -> Iterator[None]:
    """Workers whose window is WINDOW, and a scheduler."""
    with stack.workers(2, order_window_seconds=WINDOW.seconds), stack.scheduler():
        yield


@pytest.mark.usefixtures("short_window")
def test_an_order_that_waits_is_scheduled_and_placed_at_the_first_moment_allowed(user: Client) -> None:
    first = user.until_final(user.placed("c")["id"])
    allowed_at = moment(first["result"]["created_at"]) + WINDOW + TICK
    refused = user.until_final(user.placed("c")["id"])
    assert (refused["status"], moment(refused["error"]["allowed_at"])) == ("rejected", allowed_at)
    second, seen = watched(user, user.placed("c", if_too_soon="wait")["id"])
    assert "scheduled" in seen
    assert seen[-1] == "succeeded"
    assert moment(second["run_at"]) == moment(second["result"]["created_at"]) == allowed_at
    assert second["result"]["created_at"] == second["result"]["updated_at"]
    assert timedelta(0) <= moment(second["finished_at"]) - allowed_at < DUE_WITHIN
    assert user.get(second["links"]["resource"]).json() == second["result"]


@pytest.mark.usefixtures("short_window")
def test_orders_that_wait_for_one_customer_are_placed_one_window_apart(user: Client) -> None:
    jobs = at_once(lambda _: user.placed("c", if_too_soon="wait"), 3)
    finals = [user.until_final(job["id"], 60) for job in jobs]
    assert {job["status"] for job in finals} == {"succeeded"}
    moments = sorted(moment(job["result"]["created_at"]) for job in finals)
    assert all(later - earlier > WINDOW for earlier, later in pairwise(moments))


@pytest.mark.usefixtures("short_window")
def test_an_order_for_later_is_placed_then_and_not_before(user: Client) -> None:
    due = datetime.now(UTC) + timedelta(seconds=2)
    job = user.placed("c", f"?run_at={due.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}")
    assert (job["status"], moment(job["run_at"])) == ("scheduled", due)
    assert user.get(job["links"]["resource"]).status_code == 404
    final, seen = watched(user, job["id"])
    assert (seen[0], seen[-1]) == ("scheduled", "succeeded")
    assert due <= moment(final["started_at"]) < due + DUE_WITHIN
    assert moment(final["result"]["created_at"]) == moment(final["run_at"]) == due
