"""The list of jobs, while they move from Redis to PostgreSQL (CONTRACT.md §1: cursors are stable)."""

from __future__ import annotations

from tests.acceptance.client import FINAL, Client, Sightings, by_threads
from tests.acceptance.stack import Stack

BACKLOG = 250


def test_no_job_is_ever_missing_from_the_list_or_twice_in_it(stack: Stack, user: Client) -> None:
    acknowledged = [job["id"] for job in by_threads(8, lambda n: user.placed(f"customer-{n}"), range(BACKLOG))]
    sightings, mixed = Sightings(), 0
    with stack.slow_commits(0.04), stack.workers(2, batch=8):
        while True:
            late = user.placed(f"late-{len(acknowledged)}")["id"]
            acknowledged.append(late)
            jobs = user.listed(limit=30)
            assert sorted(job["id"] for job in jobs) == sorted(acknowledged)
            assert [job["submitted_at"] for job in jobs] == sorted((job["submitted_at"] for job in jobs), reverse=True)
            for job in jobs:
                sightings.see(job)
            final = sum(job["status"] in FINAL for job in jobs)
            mixed += 0 < final < len(jobs) - 1
            if final >= BACKLOG:
                break
    assert mixed >= 3, "the jobs moved too fast for the list to be seen in between"
    assert sightings.wrong == []
    assert {path[-1] for path in sightings.statuses.values()} & FINAL == {"succeeded"}
