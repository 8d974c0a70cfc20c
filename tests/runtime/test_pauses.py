"""Queues that are paused: left alone by all who work, and gone on with as soon as somebody resumes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.kernel import keys
from jobs.kernel.outcome import State
from jobs.kernel.policy import QUEUES, Priority
from jobs.kernel.queues import Queues
from tests.processes import python, running, until
from tests.road import Road

Effects = Callable[[], dict[str, int]]
AGAINST_HOPE = 60
"""Seconds that a worker would wait for a wake-up token; it is not to wait so long."""


@pytest.fixture
def queues(road: Road) -> Queues:
    return Queues(road._of_api)


@pytest.mark.parametrize("priority", Priority)
def test_of_a_paused_queue_no_lane_is_taken_from(road: Road, queues: Queues, priority: Priority) -> None:
    queues.pause("default")
    job_id = road.submit("test.probe", priority=priority)
    other = road.order("c")
    assert [delivery.job_id for delivery in road.reserve()] == [other]
    queues.resume("default")
    assert [delivery.job_id for delivery in road.reserve()] == [job_id]


def test_who_waits_at_a_paused_queue_is_woken_when_it_is_resumed(road: Road, queues: Queues) -> None:
    queues.pause("default")
    ids = [road.submit("test.probe") for _ in range(3)]
    while road.redis.lpop(keys.wake("default")):
        """What was left for those who came in vain is used up."""
    asked = road.leases.ask(["default"], 10, within=AGAINST_HOPE)
    until(lambda: road.redis.info("clients")["blocked_clients"] == 1)
    assert queues.resume("default")
    assert [delivery.job_id for delivery in road.leases.taken(asked)] == ids


def test_as_many_are_woken_as_there_are_jobs_for_and_nobody_for_none(road: Road, queues: Queues) -> None:
    for _ in range(3):
        road.submit("test.probe")
    for name in ("default", "tasks"):
        queues.pause(name)
        road.redis.delete(keys.wake(name))
        queues.resume(name)
    assert [road.redis.llen(keys.wake(name)) for name in ("default", "tasks")] == [3, 0]


def test_what_is_in_hand_when_its_queue_is_paused_is_finished(road: Road, queues: Queues, effects: Effects) -> None:
    first, second = (road.submit("test.probe") for _ in range(2))
    deliveries = road.reserve(1)
    assert queues.pause("default")
    assert queues.one("default").running == 1
    road.leases.settle(road.execute(deliveries))
    assert (road.status(first), road.status(second)) == (State.SUCCEEDED, State.QUEUED)
    assert effects() == {str(first): 1}


def test_what_comes_back_to_a_paused_queue_stays_there(road: Road, queues: Queues) -> None:
    """Handed back, reaped, promoted, or run again: all come by its lists."""
    road.submit("test.probe")
    road.reserve()
    retried = road.submit("test.probe", {"do": "raise"})
    road.leases.settle(road.execute(road.reserve()))
    queues.pause("default")
    road.make_due(retried)
    road.expire_leases()
    assert road.reserve() == []
    assert queues.one("default").depth == 2


def test_queues_are_paused_apart(road: Road, queues: Queues) -> None:
    for name in QUEUES:
        assert queues.pause(name)
        assert not queues.pause(name)
    assert queues.resume("orders")
    assert {queue.name for queue in queues.view().queues if not queue.paused} == {"orders"}


def test_worker_processes_leave_a_paused_queue_alone_and_go_on_with_it(
    road: Road, queues: Queues, effects: Effects, tmp_path: Path
) -> None:
    queues.pause("default")
    held = [str(road.submit("test.probe")) for _ in range(20)]
    command = python("-m", "tests.probes", "--queues", "default,orders", "--processes", "2")
    with running(command, road.of_worker, tmp_path / "workers.log"):
        passing = road.order("c")
        until(lambda: road.status(passing) is State.SUCCEEDED)
        until(lambda: queues.one("default").workers == 2)
        assert (effects(), queues.one("default").depth) == ({}, 20)
        queues.resume("default")
        until(lambda: effects() == dict.fromkeys(held, 1))
        until(lambda: queues.one("default").totals["succeeded"] == 20)
