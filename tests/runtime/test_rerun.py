"""Failed jobs run again, in the kernel: once for each time that it is asked for, and with one effect."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.kernel import keys
from jobs.kernel.errors import QueueDown
from jobs.kernel.outcome import State
from jobs.kernel.policy import Priority
from jobs.kernel.rerun import Rerun
from jobs.kernel.submit import new_id
from jobs.orders import PlaceOrder
from tests.failures import failed_order, unwritable, use_up
from tests.road import Road
from workers.settle import HandBack, Settlement

Counted = Callable[[], dict[str, int]]
Execute = Callable[..., Any]


def receipt(road: Road) -> tuple[str, int, int]:
    (row,) = road.rows("SELECT state, run, attempts FROM receipts")
    return row.state, row.run, row.attempts


def test_it_is_a_job_again_as_it_was_sent(road: Road, execute: Execute) -> None:
    job_id = failed_order(road, execute)
    before = road.job(job_id)
    assert road.rerun(job_id) == [Rerun.NEW]
    now = road.job(job_id)
    assert (now["status"], now["attempts"], now["error"]) == ("queued", 0, None)
    assert all(now[same] == before[same] for same in ("id", "kind", "submitted_at", "run_at", "links"))
    assert road.redis.ttl(keys.job(job_id)) == -1, "a final job's expiry is gone"
    assert road.redis.zscore("rq:failed:orders", str(job_id)) is None
    read = Job.fetch(str(job_id), connection=road.redis, serializer=JSONSerializer)
    assert (read.get_status(), read.origin, read.func_name) == ("queued", "orders", "workers.executor.execute")
    (listed,) = road.ledger.page(road.owner)
    assert (listed.id, listed.state, listed.run) == (job_id, State.QUEUED, 2)
    road.work()
    assert (road.status(job_id), receipt(road)) == (State.SUCCEEDED, ("succeeded", 2, 1))
    assert road.redis.hget(keys.METERS, "reruns|orders.place") == b"1"


def test_its_version_goes_on_from_the_earlier_run(road: Road, execute: Execute) -> None:
    job_id = failed_order(road, execute)
    versions = []
    for act in (lambda: road.rerun(job_id), road.reserve, lambda: None):
        before = road.ledger.find(job_id)
        act()
        after = road.ledger.find(job_id)
        assert before is not None
        assert after is not None
        versions += [before.version, after.version]
    assert versions == sorted(versions)
    assert versions[0] < versions[1] < versions[3]


def test_its_effective_moment_stays_where_a_wait_had_moved_it(road: Road, execute: Execute) -> None:
    job_id = road.submit("test.probe", {"do": "snooze"})
    road.work()
    road.make_due(job_id)
    (delivery,) = road.reserve()
    assert delivery.moment > delivery.submitted_at
    for _ in range(3):
        road.leases.settle([Settlement(delivery, HandBack())])
        (delivery,) = road.reserve()
    road.redis.hset(keys.job(job_id), "crashes", 3)
    road.expire_leases()
    road.work()
    assert road.code(job_id) == "worker_crashed"
    road.rerun(job_id)
    (again,) = road.reserve()
    assert (again.moment, again.submitted_at, again.run) == (delivery.moment, delivery.submitted_at, 2)
    assert (again.attempt, again.crashes) == (1, 0), "what went wrong before does not count against it"


def test_what_was_to_run_at_a_time_runs_at_once_and_is_as_old_as_that_time(road: Road, execute: Execute) -> None:
    run_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    job_id = road.order("one", run_at=run_at)
    road.make_due(job_id)
    with unwritable(execute):
        use_up(road, job_id)
    road.rerun(job_id)
    (delivery,) = road.reserve()
    assert (delivery.moment, delivery.run_at) == (run_at, run_at)


@pytest.mark.parametrize("priority", Priority)
def test_it_waits_in_its_own_lane(road: Road, execute: Execute, priority: Priority) -> None:
    job_id = failed_order(road, execute, priority=priority)
    road.rerun(job_id)
    assert road.redis.lrange(keys.queue(priority.lane("orders")), 0, -1) == [str(job_id).encode()]
    road.work()
    assert road.status(job_id) is State.SUCCEEDED


def test_fifty_at_once_make_one_run_of_each(road: Road, effects: Counted) -> None:
    ids = [road.submit("test.probe", {"do": "fail"}) for _ in range(3)]
    road.work()
    letters = [road.letter(job_id) for job_id in ids]
    with ThreadPoolExecutor(10) as pool:
        words = list(pool.map(lambda _: road.rerunner.rerun(letters), range(50)))
    for at in range(3):
        assert [told[at] for told in words].count(Rerun.NEW) == 1
        assert [told[at] for told in words].count(Rerun.UNDER_WAY) == 49
    assert road.redis.llen(keys.queue("default")) == 3
    assert road.work() == 3


def test_who_comes_with_an_old_letter_begins_no_run_anew(road: Road, execute: Execute) -> None:
    job_id = failed_order(road, execute)
    old = road.letter(job_id)
    road.rerun(job_id)
    with unwritable(execute):
        use_up(road, job_id)
    assert receipt(road) == ("failed", 2, 5)
    assert road.rerunner.rerun([old]) == [Rerun.UNDER_WAY], "that run is over"
    road.redis.flushall()
    assert road.rerunner.rerun([old]) == [Rerun.NEW], "nobody here knows of it any more"
    road.work()
    assert receipt(road) == ("failed", 2, 5), "but its receipt does"
    assert road.rerun(job_id) == [Rerun.NEW]
    road.work()
    assert receipt(road) == ("succeeded", 3, 1)
    road.redis.flushall()
    road.rerunner.rerun([old])
    road.work()
    assert receipt(road) == ("succeeded", 3, 1)
    assert len(road.rows("SELECT FROM orders")) == 1


def test_it_is_run_again_though_redis_has_forgotten_it(road: Road, execute: Execute) -> None:
    job_id = failed_order(road, execute)
    road.redis.flushall()
    assert road.rerun(job_id) == [Rerun.NEW]
    road.work()
    assert road.status(job_id) is State.SUCCEEDED


@pytest.mark.parametrize("committed", [False, True])
def test_a_worker_that_dies_in_the_new_run_leaves_one_effect(road: Road, execute: Execute, committed: bool) -> None:
    job_id = failed_order(road, execute)
    road.rerun(job_id)
    deliveries = road.reserve()
    if committed:
        road.execute(deliveries)
    road.expire_leases()
    road.work()
    assert (road.status(job_id), len(road.rows("SELECT FROM orders"))) == (State.SUCCEEDED, 1)


def test_a_worker_that_was_stopped_in_the_first_run_spoils_nothing_of_the_second(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.probe")
    late = road.reserve()
    road.redis.hset(keys.job(job_id), "crashes", 3)
    road.expire_leases()
    road.work()
    assert road.code(job_id) == "worker_crashed"
    road.rerun(job_id)
    road.leases.settle(road.execute(late))  # it comes back, and finds its run over
    assert (receipt(road)[:2], effects()) == (("failed", 1), {})
    assert road.status(job_id) is State.QUEUED
    road.work()
    road.leases.settle(road.execute(late))
    assert (receipt(road)[:2], effects()) == (("succeeded", 2), {str(job_id): 1})


def test_what_has_no_room_is_told_of_each(road: Road, execute: Execute) -> None:
    ids = [road.submit("test.probe", {"do": "fail"}) for _ in range(3)]
    road.work()
    narrow = road.with_settings(max_queue_depth=2)
    assert narrow.rerun(*ids) == [Rerun.NEW, Rerun.NEW, Rerun.FULL]
    assert [road.status(job_id) for job_id in ids] == [State.QUEUED, State.QUEUED, State.FAILED]
    road.work()
    assert narrow.rerun(ids[2]) == [Rerun.NEW]
    narrow.close()


def test_above_the_share_of_memory_nothing_is_run_again(road: Road, execute: Execute) -> None:
    job_id = failed_order(road, execute)
    road.redis.config_set("maxmemory", int(road.redis.info("memory")["used_memory"] * 1.1))
    road.redis.delete("millrace:memory")
    try:
        assert road.rerun(job_id) == [Rerun.FULL]
    finally:
        road.redis.config_set("maxmemory", "1gb")
    road.redis.delete("millrace:memory")
    assert road.rerun(job_id) == [Rerun.NEW]


def test_a_kind_that_nobody_here_knows_goes_to_the_default_queue(road: Road, execute: Execute) -> None:
    job_id = failed_order(road, execute)
    execute("UPDATE receipts SET kind = 'orders.gone'")
    road.rerun(job_id)
    assert road.redis.llen(keys.queue("default")) == 1
    assert road.work() == 1
    assert road.status(job_id) is State.SUCCEEDED, "a worker reads of what kind it is in the envelope"


def test_without_redis_it_is_said_that_it_can_be_asked_for_again(road: Road, execute: Execute) -> None:
    job_id = failed_order(road, execute)
    away = road.with_settings(redis_url="redis://127.0.0.1:1")
    with pytest.raises(QueueDown):
        away.rerun(job_id)
    away.close()
    assert road.rerun(job_id) == [Rerun.NEW]


def test_many_are_run_again_in_calls_that_keep_nobody_waiting(road: Road, execute: Execute) -> None:
    ids = [road.submit("test.probe", {"do": "fail"}) for _ in range(250)]
    road.work()
    assert road.rows("SELECT count(*) FROM receipts WHERE state = 'failed'") == [(250,)]
    before = calls(road.redis)
    assert road.rerun(*ids) == [Rerun.NEW] * 250
    assert calls(road.redis) - before == 3
    assert [road.redis.lindex(keys.queue("default"), at) for at in (0, -1)] == [
        str(ids[0]).encode(),
        str(ids[-1]).encode(),
    ]


def calls(redis: Redis) -> int:
    return int(redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_what_was_never_there_has_no_letter(road: Road) -> None:
    assert road.dead_letters.find(new_id()) is None
    job_id = road.submit("test.probe")
    road.work()
    assert road.dead_letters.find(job_id) is None


def test_what_is_committed_and_not_told_yet_is_not_taken_for_the_next_run(road: Road, execute: Execute) -> None:
    job_id = road.order("one")
    with unwritable(execute):
        road.redis.hset(keys.job(job_id), "attempts", PlaceOrder.policy.retry.attempts - 1)
        deliveries = road.reserve()
        settlements = road.execute(deliveries)
    assert road.status(job_id) is State.FAILED, "by its receipt"
    assert road.rerun(job_id) == [Rerun.UNTOLD]
    road.leases.settle(settlements)
    assert road.rerun(job_id) == [Rerun.NEW]
    assert road.rerun(job_id) == [Rerun.UNDER_WAY]
    assert road.work() == 1
    assert road.status(job_id) is State.SUCCEEDED
