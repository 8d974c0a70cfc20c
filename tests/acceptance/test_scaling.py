"""Workers are started and stopped under load: each job is done once (the promise)."""

from __future__ import annotations

import random
from contextlib import ExitStack
from subprocess import Popen
from typing import Any

import psutil
import pytest

from jobs.kernel import keys
from tests.acceptance.steady import QUEUES, Steady
from tests.processes import until
from tests.storm import faults
from tests.system.stack import Stack, children_of

pytestmark = pytest.mark.timeout(300)  # half a minute, where nobody else wants the processors


def test_from_one_worker_to_four_and_back_to_one_each_job_is_done_once(watched: Stack, chance: random.Random) -> None:
    load = Steady(watched, chance)
    with watched.slow_commits(0.02), watched.scheduler(), watched.workers(1) as one:
        with load.running(), ExitStack() as others:
            until(lambda: load.done > 100)
            more = [others.enter_context(watched.workers(1)) for _ in range(3)]
            four = {process_of(worker).pid for worker in (one, *more)}
            until(lambda: four <= have_worked(watched))
            kill_with_a_job_in_hand(watched, more.pop())
            for worker in more:
                worker.terminate()
            assert [worker.wait(30) for worker in more] == [0, 0]
            done = load.done
            until(lambda: load.done > done + 50)
        load.assert_each_done_once()


def process_of(supervisor: Popen[bytes]) -> psutil.Process:
    (worker,) = children_of(supervisor)
    return worker


def have_worked(stack: Stack) -> set[int]:
    """The processes of all workers that have ended a job."""
    return {faults.process_of(line["worker"]) for line in stack.lines("workers") if line["event"] == "job"}


def kill_with_a_job_in_hand(stack: Stack, supervisor: Popen[bytes]) -> None:
    """The worker, and its supervisor, who would start another."""
    worker = process_of(supervisor)
    until(lambda: stopped_with_a_job_in_hand(stack, worker))
    supervisor.kill()
    worker.kill()


def stopped_with_a_job_in_hand(stack: Stack, worker: psutil.Process) -> bool:
    worker.suspend()
    if in_hand(stack, worker.pid):
        return True
    worker.resume()
    return False


def in_hand(stack: Stack, pid: int) -> list[str]:
    """The jobs whose leases a process holds."""

    def ask(redis: Any) -> list[str]:
        leased = [member.decode() for queue in QUEUES for member in redis.zrange(keys.leases(queue), 0, -1)]
        return [job_id for job_id in leased if faults.holder(redis.hget(keys.job(job_id), "token")) == pid]

    return stack.in_redis(ask)
