"""Lanes: what is of high priority is taken before the rest of its queue, what is of low priority after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from jobs.kernel import keys
from jobs.kernel.errors import QueueFull
from jobs.kernel.outcome import State
from jobs.kernel.policy import QUEUES, Priority
from tests.road import Road
from tests.runtime.test_rq import rq, stock_worker
from workers.settle import HandBack, Settlement

HIGH, NORMAL, LOW = Priority


def probe(road: Road, priority: Priority, **more: object) -> UUID:
    return road.submit("test.probe", priority=priority, **more)


def waiting(road: Road) -> list[list[UUID]]:
    """What waits in each lane of `default`, in order."""
    return [[UUID(each.decode()) for each in road.redis.lrange(lane, 0, -1)] for lane in keys.lanes("default")]


def taken(road: Road, most: int = 100) -> list[UUID]:
    return [delivery.job_id for delivery in road.reserve(most)]


def test_high_goes_before_normal_before_low_and_each_in_order(road: Road) -> None:
    ids = {priority: [probe(road, priority) for _ in range(2)] for priority in (LOW, NORMAL, HIGH)}
    more = probe(road, HIGH)
    assert taken(road) == [*ids[HIGH], more, *ids[NORMAL], *ids[LOW]]


def test_what_comes_later_goes_before_what_waits_longer(road: Road) -> None:
    old = [probe(road, NORMAL) for _ in range(3)]
    assert taken(road, 1) == old[:1]
    high = probe(road, HIGH)
    assert taken(road, 1) == [high]
    assert taken(road) == old[1:]


def test_a_queue_that_is_named_first_goes_before_what_is_high_in_another(road: Road) -> None:
    high, low = road.order("one", priority=HIGH), probe(road, LOW)
    assert [delivery.job_id for delivery in road.leases.reserve(["default", "orders"], 10)] == [low, high]


def test_what_is_handed_back_goes_to_the_front_of_its_lane(road: Road) -> None:
    ids = [[probe(road, priority) for _ in range(3)] for priority in Priority]
    deliveries = road.reserve(8)
    road.leases.settle([Settlement(delivery, HandBack()) for delivery in deliveries])
    assert waiting(road) == ids


def test_what_is_reaped_goes_to_the_front_of_its_lane(road: Road) -> None:
    ids = [[probe(road, priority) for _ in range(3)] for priority in Priority]
    road.reserve(8)
    road.expire_leases()
    assert waiting(road) == ids


@pytest.mark.parametrize("priority", Priority)
def test_what_waits_for_a_time_comes_into_its_lane(road: Road, priority: Priority) -> None:
    job_id = probe(road, priority, run_at=datetime.now(UTC) + timedelta(hours=1))
    assert waiting(road) == [[], [], []]
    road.make_due(job_id)
    assert waiting(road)[list(Priority).index(priority)] == [job_id]
    assert road.work() == 1


@pytest.mark.parametrize("priority", Priority)
def test_what_is_tried_again_comes_into_its_lane(road: Road, priority: Priority) -> None:
    job_id = road.submit("test.probe", {"do": "raise once"}, priority=priority)
    road.work()
    road.make_due(job_id)
    assert waiting(road)[list(Priority).index(priority)] == [job_id]
    road.work()
    assert road.status(job_id) is State.SUCCEEDED


def test_the_cap_counts_what_waits_in_all_lanes(road: Road) -> None:
    narrow = road.with_settings(max_queue_depth=3)
    for priority in Priority:
        probe(narrow, priority)
    for priority in Priority:
        with pytest.raises(QueueFull):
            probe(narrow, priority)
    narrow.work()
    assert probe(narrow, HIGH)
    narrow.close()


def test_a_paused_queue_is_passed_over_with_all_its_lanes(road: Road) -> None:
    ids = [probe(road, priority) for priority in Priority]
    road.redis.sadd(keys.PAUSED, "default")
    assert taken(road) == []
    road.redis.srem(keys.PAUSED, "default")
    assert taken(road) == ids


def test_leases_and_counts_are_the_queues_whatever_the_lane(road: Road) -> None:
    for priority in Priority:
        probe(road, priority)
    road.reserve()
    assert road.redis.zcard(keys.leases("default")) == 3
    assert road.redis.zcard(keys.started("default")) == 3
    assert not road.redis.keys("millrace:leases:*.*")


def test_members_of_a_crashed_batch_come_back_to_their_lanes_and_run_apart(road: Road) -> None:
    high, low = [probe(road, HIGH) for _ in range(2)], [probe(road, LOW) for _ in range(2)]
    road.reserve()
    road.expire_leases()
    assert waiting(road) == [high, [], low]
    assert taken(road) == high, "four that died together run by twos"
    assert taken(road) == low


def test_an_idle_worker_is_woken_for_any_lane(road: Road) -> None:
    for priority in Priority:
        road.redis.delete(keys.wake("default"))
        probe(road, priority)
        assert road.redis.llen(keys.wake("default")) == 1


@pytest.mark.parametrize("priority", [HIGH, LOW])
def test_a_stock_worker_works_on_a_lane(road: Road, priority: Priority) -> None:
    ids = [road.order(name, priority=priority) for name in ("one", "two")]
    other = road.order("three")
    lane = priority.lane("orders")
    assert f"queue {lane} 2, 0 executing" in rq(road, "info", "--raw", "--only-queues")
    stock_worker(road, lane)
    assert [road.status(job_id) for job_id in ids] == [State.SUCCEEDED] * 2
    assert road.status(other) is State.QUEUED
    assert road.redis.zcard(keys.leases("orders")) == 0


def test_every_queue_has_three_lanes_of_names_that_no_queue_has(road: Road) -> None:
    lanes = [lane for queue in QUEUES for lane in keys.lanes(queue)]
    assert len(set(lanes)) == 3 * len(QUEUES)
    assert {keys.queue(name) for name in QUEUES} == set(lanes[1::3])
