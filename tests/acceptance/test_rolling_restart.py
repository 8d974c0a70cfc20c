"""Everything is replaced, one after the other, under load: not one request fails, and no job is lost (the promise)."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from subprocess import Popen

import pytest

from local.processes import free_port
from tests.acceptance.balanced import balanced
from tests.acceptance.steady import HABITS, Steady
from tests.processes import until
from tests.system.stack import Stack

RENEWALS = 2

pytestmark = pytest.mark.timeout(300)  # half a minute, where nobody else wants the processors


def renew(stack: Stack) -> None:
    for _ in range(RENEWALS):
        stack.renew_api()


@pytest.mark.parametrize("change", [renew, Stack.succeed_api], ids=["SIGHUP", "SIGUSR2"])
def test_processes_of_the_api_are_replaced_and_not_one_request_fails(
    watched: Stack, chance: random.Random, change: Callable[[Stack], None]
) -> None:
    load = Steady(watched, chance)
    with watched.workers(2), watched.scheduler():
        with load.running():
            until(lambda: load.acknowledged > 100)
            change(watched)
            acknowledged = load.acknowledged
            until(lambda: load.acknowledged > acknowledged + 50)
        load.assert_each_done_once()


def test_one_address_of_two_goes_on_while_the_other_is_restarted(watched: Stack, chance: random.Random) -> None:
    port = free_port()
    with watched.workers(2), watched.scheduler(), ExitStack() as second:
        second.enter_context(watched.api(port, WEB_CONCURRENCY="1"))
        load = Steady(watched, chance, balanced(HABITS, [watched.base_url, f"http://127.0.0.1:{port}"]))
        with load.running():
            until(lambda: load.acknowledged > 100)
            watched.stop_api()
            watched.start_api()
            second.close()
            second.enter_context(watched.api(port, WEB_CONCURRENCY="1"))
            acknowledged = load.acknowledged
            until(lambda: load.acknowledged > acknowledged + 50)
        load.assert_each_done_once()


def test_workers_and_the_scheduler_are_replaced_one_after_the_other_and_no_job_is_lost(
    watched: Stack, chance: random.Random
) -> None:
    load = Steady(watched, chance)
    with watched.slow_commits(0.02), ExitStack() as old, ExitStack() as new:
        workers = [old.enter_context(watched.workers(1)) for _ in range(2)]
        scheduler = old.enter_context(watched.scheduler())
        with load.running():
            until(lambda: load.done > 100)
            for leaving in workers:
                new.enter_context(watched.workers(1))
                leave(leaving)
            new.enter_context(watched.scheduler())
            leave(scheduler)
            done = load.done
            until(lambda: load.done > done + 50)
        load.assert_each_done_once()


def leave(process: Popen[bytes]) -> None:
    process.terminate()
    assert process.wait(30) == 0
