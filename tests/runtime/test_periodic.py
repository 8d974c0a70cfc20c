"""Periodic kinds: one job at each fire time, whoever submits it and however often; and no heap of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from time import sleep
from uuid import UUID

import pytest

from jobs.kernel import broker, keys, registry
from jobs.kernel.outcome import State
from tests import ticks
from tests.processes import python, running, until
from tests.road import Road
from workers.periodic import Periodic
from workers.scheduler import DueScheduler

Effects = Callable[[], dict[str, int]]
NEVER_AGAIN = 10**9
"""Seconds between two fire times, of which the next comes in years."""


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    """No other kinds are periodic than these."""
    others = [kind for kind in registry.every() if kind.every]
    for kind in others:
        registry.remove(kind)
    with ticks.declared():
        yield
    for kind in others:
        registry.add(kind)


@pytest.fixture
def once(road: Road) -> Road:
    """A tick and a tock, once."""
    return road.with_settings(call_reconcile_seconds=NEVER_AGAIN, call_silent_seconds=NEVER_AGAIN)


@pytest.fixture
def often(once: Road) -> Road:
    """A tick every second."""
    return once.with_settings(call_reconcile_seconds=1)


def scheduler(road: Road) -> DueScheduler:
    """A scheduler that knows nothing of others."""
    return DueScheduler(road.scheduler.connection, road.settings)


def jobs(road: Road, kind: str = "test.tick") -> dict[UUID, datetime]:
    """Every job of a kind in Redis, and when it was accepted."""
    found = {}
    for key in road.redis.scan_iter("rq:job:*"):
        told, at = road.redis.hmget(key, "description", "created_at")
        if told == kind.encode() and at is not None:
            found[UUID(key.decode().removeprefix("rq:job:"))] = datetime.fromisoformat(at.decode())
    return found


def waiting(road: Road) -> int:
    return sum(road.redis.hget(keys.job(job_id), "state") == b"queued" for job_id in jobs(road))


def work_until(road: Road, least: int, turn: Callable[[], None] = lambda: None) -> None:
    """Carry out what comes, until there were so many ticks."""

    def done() -> bool:
        turn()
        road.work()
        return len(jobs(road)) >= least

    until(done)


def assert_one_at_a_time(road: Road) -> None:
    """One in each second at most. The second of the first may just have ended when it was accepted."""
    first, *_, last = sorted(jobs(road).values())
    assert len(jobs(road)) <= int(last.timestamp()) - int(first.timestamp()) + 2


def test_a_job_of_each_kind_is_submitted_and_carried_out_as_nobodys(once: Road, effects: Effects) -> None:
    once.scheduler.run(burst=True)
    (tick,), (tock,) = jobs(once), jobs(once, "test.tock")
    once.work()
    assert once.status(tick) is State.SUCCEEDED
    assert effects() == {str(tick): 1, str(tock): 1}
    assert once.redis.hget(keys.job(tick), "owner") is None


def test_other_kinds_are_not_submitted(once: Road) -> None:
    once.scheduler.run(burst=True)
    told = [once.redis.hget(key, "description") for key in once.redis.scan_iter("rq:job:*")]
    assert sorted(filter(None, told)) == [b"test.tick", b"test.tock"]


def test_schedulers_that_take_turns_make_one_job_for_each_fire_time(often: Road, effects: Effects) -> None:
    both = [scheduler(often), scheduler(often)]

    def turns() -> None:
        for one in both:
            one.run(burst=True)
            often.work()

    work_until(often, 5, turns)
    assert_one_at_a_time(often)
    assert effects() == {str(job_id): 1 for job_id in jobs(often) | jobs(often, "test.tock")}


def test_processes_make_one_job_for_each_fire_time_and_one_goes_on_without_the_other(
    often: Road, effects: Effects, tmp_path: Path
) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:9/nowhere"
    told = {"DATABASE_URL": nowhere, "READ_DATABASE_URL": nowhere, "WRITE_DATABASE_URL": nowhere}
    command, log = python("-m", "tests.ticks"), tmp_path / "scheduler.log"
    with running(command, often.of_worker, log, **told):
        work_until(often, 2)
        with running(command, often.of_worker, log, **told) as other:
            work_until(often, 4)
            assert other.poll() is None
        work_until(often, len(jobs(often)) + 1)
    with running(command, often.of_worker, log, **told):
        work_until(often, len(jobs(often)) + 2)
    often.work()
    assert_one_at_a_time(often)
    assert set(effects().values()) == {1}


@pytest.mark.parametrize("state", ["queued", "succeeded", "expired", "unheard"])
def test_a_scheduler_that_is_started_anew_submits_none_twice(once: Road, state: str) -> None:
    scheduler(once).run(burst=True)
    (tick,) = jobs(once)
    match state:
        case "succeeded":
            once.work()
        case "expired":
            once.work()
            once.redis.delete(keys.job(tick))
        case "unheard":
            once.redis.delete(keys.PERIODIC)
    left = waiting(once)
    scheduler(once).run(burst=True)
    assert set(jobs(once)) == (set() if state == "expired" else {tick})
    assert waiting(once) == left


@pytest.mark.parametrize("state", ["queued", "running", "scheduled"])
@pytest.mark.parametrize("anew", [False, True], ids=["the same scheduler", "another one"])
def test_while_one_is_still_to_be_carried_out_there_is_no_other(often: Road, state: str, anew: bool) -> None:
    first = scheduler(often)
    first.run(burst=True)
    (tick,) = jobs(often)
    often.redis.hset(keys.job(tick), "state", state)
    sleep(1.1)
    second = scheduler(often) if anew else first
    second.run(burst=True)
    assert set(jobs(often)) == {tick}
    often.redis.hset(keys.job(tick), "state", "queued")
    often.work()
    second.run(burst=True)
    assert len(jobs(often)) == 2


@pytest.mark.parametrize("state", ["succeeded", "rejected", "failed", "canceled", "gone"])
def test_once_it_is_final_the_next_comes(often: Road, state: str) -> None:
    often.scheduler.run(burst=True)
    (tick,) = jobs(often)
    if state == "gone":
        often.redis.delete(keys.job(tick))
    else:
        often.redis.hset(keys.job(tick), "state", state)
    sleep(1.1)
    often.scheduler.run(burst=True)
    assert len(set(jobs(often)) - {tick}) == 1


def test_fire_times_at_which_nobody_submitted_are_not_caught_up(often: Road) -> None:
    often.scheduler.run(burst=True)
    often.work()
    sleep(3.1)
    before, _ = often.redis.time()
    for _ in range(3):
        often.scheduler.run(burst=True)
        often.work()
    after, _ = often.redis.time()
    assert 2 <= len(jobs(often)) <= 2 + after - before


@pytest.mark.parametrize("whole", [True, False], ids=["from the first thing it is asked", "when it is to take a job"])
def test_a_redis_that_does_not_answer_is_asked_again(once: Road, whole: bool) -> None:
    """While it is paused so, Redis answers who only reads."""
    with closing(broker.connect(once.of_worker.redis_url)) as redis:
        one = DueScheduler(redis, once.settings)
        turn = partial(one.run, burst=True) if whole else Periodic(redis, once.settings).submit_due
        once.redis.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        try:
            turn()
            assert jobs(once) == {}
        finally:
            once.redis.execute_command("CLIENT", "UNPAUSE")
        turn()
    assert len(jobs(once)) == len(jobs(once, "test.tock")) == 1


def test_a_redis_that_loses_everything_has_the_next_fire_time(often: Road) -> None:
    often.scheduler.run(burst=True)
    often.redis.flushall()
    sleep(1.1)
    often.scheduler.run(burst=True)
    assert len(jobs(often)) == 1


def test_a_full_queue_has_its_tick_when_there_is_room(once: Road) -> None:
    once = once.with_settings(max_queue_depth=1)
    probe = once.submit("test.probe")
    once.scheduler.run(burst=True)
    assert jobs(once) == {}
    once.work()
    assert once.status(probe) is State.SUCCEEDED
    once.scheduler.run(burst=True)
    assert len(jobs(once)) + len(jobs(once, "test.tock")) == 1
