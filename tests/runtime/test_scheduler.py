"""The scheduler: what is due is moved to its queue, exactly once, by whichever scheduler holds the lock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from jobs.kernel import keys
from jobs.kernel.outcome import State
from jobs.kernel.submit import new_id
from tests.road import Road
from workers.scheduler import DueScheduler


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=60)


def test_what_is_not_due_stays(road: Road) -> None:
    job_id = road.submit("test.probe", run_at=soon())
    assert road.scheduler.enqueue_jobs() == 0
    assert road.status(job_id) is State.SCHEDULED
    assert road.reserve() == []


def test_a_score_is_never_before_the_time_asked_for(road: Road) -> None:
    at = datetime.now(UTC).replace(microsecond=1) + timedelta(seconds=60)
    job_id = road.submit("test.probe", run_at=at)
    score = road.redis.zscore(keys.SCHEDULED, str(job_id))
    assert score is not None
    assert 0 <= score - at.timestamp() < 0.0011


def test_a_time_in_the_past_is_now(road: Road) -> None:
    job_id = road.submit("test.probe", run_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert road.status(job_id) is State.QUEUED
    road.work()
    assert road.status(job_id) is State.SUCCEEDED


def test_thousands_that_are_due_are_moved_in_one_go_and_keep_their_order(road: Road) -> None:
    ids = [road.submit("test.many", run_at=soon()) for _ in range(1200)]
    road.redis.zadd(keys.SCHEDULED, {str(job_id): 1 + n for n, job_id in enumerate(ids)})
    assert road.scheduler.enqueue_jobs() == 1200
    assert [delivery.job_id for delivery in road.reserve(100)] == ids[:100]


def test_a_canceled_job_is_not_made_queued_again(road: Road) -> None:
    job_id = road.submit("test.probe", run_at=soon())
    road.redis.hset(keys.job(job_id), mapping={"state": "canceled", "status": "canceled"})
    road.make_due(job_id)
    assert road.status(job_id) is State.CANCELED
    assert road.reserve() == []


def test_what_cannot_be_read_is_set_aside_and_the_rest_goes_on(road: Road) -> None:
    broken, gone = str(new_id()), str(new_id())
    road.redis.set(f"rq:job:{broken}", "no hash")
    road.redis.zadd(keys.SCHEDULED, {broken: 1, gone: 1})
    fine = road.submit("test.probe", run_at=soon())
    road.make_due(fine)
    assert road.status(fine) is State.QUEUED
    assert road.redis.zcard(keys.SCHEDULED) == 0
    assert road.redis.zrange("millrace:scheduler:aside", 0, -1) == [broken.encode()]


def test_of_two_schedulers_one_acts_and_the_other_takes_over(road: Road) -> None:
    one, two = DueScheduler(road.redis, road.settings), DueScheduler(road.redis, road.settings)
    assert one.acquire_lock()
    assert not two.acquire_lock()
    assert one.acquire_lock(), "renewed"
    two.remove_lock()
    assert not two.acquire_lock(), "another's lock is left alone"
    one.remove_lock()
    assert two.acquire_lock()
    assert not one.acquire_lock()


def test_a_lock_that_was_lost_is_taken_again(road: Road) -> None:
    one = DueScheduler(road.redis, road.settings)
    assert one.acquire_lock()
    road.redis.delete(one.scheduler_lock_key)
    assert one.acquire_lock()


def test_rq_schedulers_own_calls_read_and_write_json(road: Road) -> None:
    job_id = road.submit("test.probe", run_at=soon())
    (found,) = road.scheduler.get_jobs()
    assert (found.id, found.func_name, found.description) == (str(job_id), "workers.executor.execute", "test.probe")
    made = road.scheduler.enqueue_in(timedelta(seconds=1), "workers.executor.execute", {"kind": "test.probe"})
    data = road.redis.hget(keys.job(made.id), "data")
    assert data is not None
    assert made.serializer.loads(made.data)[0] == "workers.executor.execute"


def test_a_scheduler_registers_so_that_its_absence_can_be_seen(road: Road) -> None:
    road.scheduler.run(burst=True)
    assert road.redis.hexists(road.scheduler.key, "death")
    assert time.time() - float(road.redis.hget(road.scheduler.key, "birth") or 0) < 60


def test_a_redis_that_refuses_writes_does_not_end_the_scheduler(road: Road) -> None:
    job_id = road.submit("test.probe", run_at=soon())
    road.redis.zadd(keys.SCHEDULED, {str(job_id): 1})
    road.redis.config_set("min-replicas-to-write", 1)
    try:
        road.scheduler.run(burst=True)
        assert road.status(job_id) is State.SCHEDULED
    finally:
        road.redis.config_set("min-replicas-to-write", 0)
    road.scheduler.run(burst=True)
    assert road.status(job_id) is State.QUEUED
