"""Everything stopped while orders come in: each takes effect once (the promise)."""

from __future__ import annotations

import time
from contextlib import ExitStack

from jobs.kernel import keys
from tests.acceptance.stack import Stack
from tests.processes import until
from tests.system.client import Client
from tests.system.threads import again_and_again

STOPS_WITHIN = 25


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
