"""Workers killed, and everything stopped, while orders come in: each takes effect once (the promise)."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

import psutil

from jobs.kernel import keys
from tests.acceptance.client import Client, Sightings, by_threads
from tests.acceptance.stack import Stack, again_and_again, workers_of
from tests.processes import kill, until

ORDERS = 2_000
STOPS_WITHIN = 25


def test_2000_orders_take_effect_once_each_while_a_worker_is_killed_every_second(
    stack: Stack, user: Client, chance: random.Random
) -> None:
    sightings = Sightings()
    acknowledged: list[str] = []
    killed: list[psutil.Process] = []

    def place(number: int) -> None:
        acknowledged.append(user.persist(f"customer-{number}"))
        time.sleep(0.015)

    def look() -> None:
        recent = acknowledged[-800:]
        for job_id in chance.sample(recent, min(5, len(recent))):
            sightings.see(user.job(job_id))
        for job in user.listed(most=800):
            sightings.see(job)

    def kill_one() -> None:
        if alive := workers_of(supervisor):
            killed.append(chance.choice(alive))
            kill(killed[-1])

    logged = len(stack.lines("workers"))
    with stack.slow_commits(0.04), stack.workers(3, batch=20) as supervisor:
        with again_and_again(look, 0.1), again_and_again(kill_one, 1):
            by_threads(8, place, range(ORDERS))
        stack.until_done(user, set(acknowledged))
        for job in user.listed():
            sightings.see(job)
        stack.assert_each_once(user, acknowledged)
    assert len(acknowledged) == ORDERS
    assert sightings.wrong == []
    assert {path[-1] for path in sightings.statuses.values()} == {"succeeded"}
    told = [line for line in stack.lines("workers")[logged:] if line["event"] == "job"]
    assert len(killed) >= 5
    assert any(line["attempt"] > 1 for line in told), "no worker was killed with a job in hand"


def test_everything_stopped_under_load_exits_in_time_and_the_next_start_does_the_rest(
    stack: Stack, user: Client
) -> None:
    acknowledged: list[str] = []

    def place(number: int) -> None:
        acknowledged.append(user.persist(f"customer-{number}"))

    with stack.slow_commits(0.1), ExitStack() as first, ExitStack() as clients:
        processes = [first.enter_context(stack.workers(2, batch=5)), first.enter_context(stack.scheduler())]
        numbers = iter(range(1_000_000))
        for _ in range(6):
            clients.enter_context(again_and_again(lambda: place(next(numbers)), 0.005))
        until(lambda: len(acknowledged) > 200)
        began = time.monotonic()
        ended = stack.stop_api(processes)
        assert time.monotonic() - began < STOPS_WITHIN
        assert ended == [0, 0, 0]
        left = set(acknowledged) - stack.receipts(user).keys()
        assert left, "nothing was left to do, so nothing is shown"
        assert stack.in_redis(lambda redis: redis.zcard(keys.leases("orders"))) == 0
        stack.start_api()
        until(lambda: len(acknowledged) > 300)
    with stack.workers(2):
        stack.assert_each_once(user, acknowledged)
