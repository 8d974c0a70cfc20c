"""The list of jobs, while they move from Redis to PostgreSQL (CONTRACT.md §1: cursors are stable)."""

from __future__ import annotations

from itertools import count

from tests.acceptance.stack import Stack
from tests.system.client import FINAL, Client
from tests.system.sightings import Sightings
from tests.system.threads import again_and_again, at_once, by_threads

BACKLOG = 300
READERS = 3


def test_no_job_is_ever_missing_from_the_list_or_twice_in_it(stack: Stack, user: Client) -> None:
    backlog = {job["id"] for job in by_threads(8, lambda number: user.placed(f"customer-{number}"), range(BACKLOG))}
    late = count()

    def read_until_all_are_final(_: int) -> tuple[Sightings, int]:
        sightings, mixed = Sightings(), 0
        while True:
            jobs = user.listed(limit=60)
            ids = [job["id"] for job in jobs]
            assert len(set(ids)) == len(ids), "twice in the list"
            assert backlog <= set(ids), "missing from the list"
            times = [job["submitted_at"] for job in jobs]
            assert times == sorted(times, reverse=True)
            for job in jobs:
                sightings.see(job)
            final = sum(job["status"] in FINAL for job in jobs if job["id"] in backlog)
            mixed += 0 < final < BACKLOG
            if final == BACKLOG:
                return sightings, mixed

    place = again_and_again(lambda: user.placed(f"late-{next(late)}"), 0.1)
    with stack.slow_commits(0.01), stack.workers(2, batch=1), place:
        seen = at_once(read_until_all_are_final, READERS)
    assert sum(mixed for _, mixed in seen) >= 5, "the jobs moved too fast to be seen on their way"
    assert [sightings.wrong for sightings, _ in seen] == [[]] * READERS
