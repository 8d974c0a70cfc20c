"""Leases: who may work on a job, and what becomes of it when they die."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from jobs.kernel import keys
from jobs.kernel.outcome import State
from jobs.kernel.submit import new_id
from tests.processes import until
from tests.road import Road
from workers.heart import Heart
from workers.settle import HandBack, Settlement
from workers.work import CRASHES_TO_DEATH

Effects = Callable[[], dict[str, int]]


def test_jobs_are_taken_in_order_over_the_queues_and_only_once(road: Road) -> None:
    orders = [road.order(str(n)) for n in range(3)]
    probes = [road.submit("test.probe") for _ in range(3)]
    taken = road.leases.reserve(["default", "orders"], 4)
    assert [delivery.job_id for delivery in taken] == [*probes, orders[0]]
    assert [delivery.job_id for delivery in road.worker().reserve(["default", "orders"], 100)] == orders[1:]
    assert road.reserve() == []


def test_a_leased_job_shows_as_running(road: Road) -> None:
    job_id = road.submit("test.probe")
    road.reserve()
    job = road.job(job_id)
    assert (job["status"], job["attempts"]) == ("running", 1)
    assert job["started_at"] >= job["submitted_at"]


def test_a_paused_queue_is_passed_over(road: Road) -> None:
    road.submit("test.probe")
    road.redis.sadd(keys.PAUSED, "default")
    assert road.reserve() == []
    road.redis.srem(keys.PAUSED, "default")
    assert len(road.reserve()) == 1


def test_an_id_queued_twice_is_leased_once(road: Road) -> None:
    job_id = road.submit("test.probe")
    road.redis.rpush(keys.queue("default"), str(job_id))
    assert len(road.reserve()) == 1
    road.redis.rpush(keys.queue("default"), str(job_id))
    assert road.reserve() == []


def test_a_batch_ends_at_a_mebibyte(road: Road) -> None:
    for _ in range(5):
        road.submit("test.probe", {"do": "x" * 300 * 1024})
    assert len(road.reserve()) == 3
    assert len(road.reserve()) == 2


def test_a_stranger_cannot_settle_a_lease(road: Road) -> None:
    job_id = road.submit("test.probe")
    (first,) = road.reserve()
    road.expire_leases()
    (second,) = road.reserve()
    assert road.leases.settle([Settlement(first, HandBack())]) == 0
    assert road.status(job_id) is State.RUNNING
    assert road.leases.settle([Settlement(second, HandBack())]) == 1
    assert road.status(job_id) is State.QUEUED


def test_a_heartbeat_renews_what_is_held_and_names_what_is_lost(road: Road) -> None:
    road.submit("test.probe")
    (delivery,) = road.reserve()
    before = road.redis.zscore(keys.leases("default"), delivery.id)
    time.sleep(0.01)
    assert road.leases.renew([delivery]) == set()
    after = road.redis.zscore(keys.leases("default"), delivery.id)
    assert before is not None
    assert after is not None
    assert after > before
    road.expire_leases()
    assert road.leases.renew([delivery]) == {delivery.id}


def test_expired_leases_go_back_to_the_front_in_their_order(road: Road) -> None:
    ids = [road.submit("test.probe") for _ in range(3)]
    road.reserve(3)
    last = road.submit("test.probe")
    road.expire_leases()
    queued = [member.decode() for member in road.redis.lrange(keys.queue("default"), 0, -1)]
    assert queued == [*map(str, ids), str(last)]
    assert road.redis.zcard(keys.started("default")) == 0


def test_members_of_a_crashed_batch_run_in_halves_then_alone_and_with_nobody_else(road: Road) -> None:
    for _ in range(5):
        road.submit("test.probe")
    assert len(road.reserve(5)) == 5
    road.submit("test.probe")
    sizes = []
    for _ in range(4):
        road.expire_leases()
        sizes.append(len(road.reserve()))
    assert sizes == [3, 2, 1, 1]


def test_a_job_that_kills_three_workers_alone_is_a_dead_letter_and_the_innocent_go_on(
    road: Road, effects: Effects
) -> None:
    ids = [road.submit("test.probe") for _ in range(8)]
    killer = str(ids[5])
    deaths = 0
    while deliveries := road.reserve():
        if killer in {delivery.id for delivery in deliveries} and all(d.crashes < CRASHES_TO_DEATH for d in deliveries):
            deaths += 1
            road.expire_leases()
            continue
        road.leases.settle(road.execute(deliveries))
    assert deaths == 3 + CRASHES_TO_DEATH  # in eight, four, two, then alone
    assert (road.status(ids[5]), road.code(ids[5])) == (State.FAILED, "worker_crashed")
    assert effects() == {str(job_id): 1 for job_id in ids if str(job_id) != killer}


def test_a_job_that_took_effect_before_its_third_crash_has_succeeded(road: Road, effects: Effects) -> None:
    job_id = road.submit("test.probe")
    for crash in range(CRASHES_TO_DEATH):
        deliveries = road.reserve()
        if crash == 1:
            road.execute(deliveries)
        road.expire_leases()
    road.work()
    assert road.status(job_id) is State.SUCCEEDED
    assert effects() == {str(job_id): 1}


def test_what_is_handed_back_keeps_its_order(road: Road) -> None:
    ids = [road.submit("test.probe") for _ in range(3)]
    road.leases.settle([Settlement(delivery, HandBack()) for delivery in road.reserve()])
    assert [delivery.job_id for delivery in road.reserve()] == ids


def test_a_hand_back_counts_nothing(road: Road) -> None:
    job_id = road.submit("test.probe")
    for _ in range(CRASHES_TO_DEATH + 1):
        (delivery,) = road.reserve()
        assert (delivery.attempt, delivery.crashes) == (1, 0)
        road.leases.settle([Settlement(delivery, HandBack())])
    assert road.status(job_id) is State.QUEUED


def test_after_a_restart_of_redis_the_reaper_waits_one_lease_and_counts_no_crash(road: Road) -> None:
    road.submit("test.probe")
    road.leases.reap()
    (delivery,) = road.reserve()
    road.redis.zadd(keys.leases("default"), {delivery.id: 1})
    road.redis.hset("millrace:reaper", "run_id", "another")
    assert [road.leases.reap(), road.leases.reap()] == [0, 0]
    road.redis.hset("millrace:reaper", "grace_until", 2)  # the wait is over; the lease had run out before its end
    assert road.leases.reap() == 1
    (again,) = road.reserve()
    assert again.crashes == 0


def test_a_worker_that_missed_redis_abstains_from_reaping_for_one_lease(road: Road) -> None:
    road.submit("test.probe")
    road.leases.reap()
    (delivery,) = road.reserve()
    road.redis.hset("millrace:reaper", "grace_until", 0)
    road.redis.zadd(keys.leases("default"), {delivery.id: 1})
    cut_off, fine = Heart(road.leases, None, 60), Heart(road.worker(), None, 60)
    cut_off.missed_redis()
    cut_off._reap()
    assert road.redis.zcard(keys.leases("default")) == 1
    fine._reap()
    assert road.redis.zcard(keys.leases("default")) == 0


def test_jobs_leased_in_a_reply_that_never_came_go_back_first_and_count_nothing(road: Road) -> None:
    ids = [road.submit("test.probe") for _ in range(3)]
    cut_off = road.worker()
    asked = cut_off.ask(["default"], 10)
    asked.call.reply()
    asked.call.end(error=RedisConnectionError("the reply is lost"))
    with pytest.raises(RedisConnectionError):
        cut_off.taken(asked)
    assert road.reserve() == []
    deliveries = cut_off.reserve(["default"], 10)
    assert [delivery.job_id for delivery in deliveries] == ids
    assert {(delivery.attempt, delivery.crashes) for delivery in deliveries} == {(1, 0)}


def test_a_final_job_leaves_nothing_but_its_hash_which_expires(road: Road) -> None:
    job_id = road.submit("test.probe")
    road.work()
    assert (
        road.redis.exists(keys.live_jobs(road.owner), keys.OWNERS, keys.leases("default"), keys.queue("default")) == 0
    )
    assert 0 < road.redis.ttl(keys.job(job_id)) <= road.settings.final_ttl_seconds
    assert road.redis.hget(keys.stats("default"), "succeeded") == b"1"


def test_idle_workers_are_woken_by_every_path_that_pushes(road: Road) -> None:
    def woken() -> bool:
        tokens = road.redis.llen(keys.wake("default"))
        road.redis.delete(keys.wake("default"))
        return tokens > 0

    job_id = road.submit("test.probe", {"do": "snooze"})
    assert woken()
    (delivery,) = road.reserve()
    road.leases.settle([Settlement(delivery, HandBack())])
    assert woken()
    road.reserve()
    road.expire_leases()
    assert woken()
    road.work()
    road.make_due(job_id)
    assert woken()


def test_wake_up_tokens_are_capped(road: Road) -> None:
    for _ in range(100):
        road.submit("test.probe")
    assert road.redis.llen(keys.wake("default")) == 64


def test_a_full_redis_can_still_be_drained(road: Road, effects: Effects) -> None:
    ids = [road.submit("test.probe") for _ in range(50)]
    road.redis.config_set("maxmemory", "1mb")
    try:
        deliveries = road.reserve()
        assert len(deliveries) == 50
        assert road.leases.renew(deliveries) == set()
        assert road.leases.settle(road.execute(deliveries)) == 50
        road.leases.reap()
    finally:
        road.redis.config_set("maxmemory", "1gb")
    assert len(effects()) == len(ids)


def test_names_of_keys_in_lua_are_those_of_python(road: Road) -> None:
    job_id = road.submit("test.probe")
    road.submit("test.probe")
    later = road.submit("test.probe", {"do": "raise"})
    road.leases.settle(road.execute(road.reserve(1)))
    road.reserve(1)
    road.leases.settle(road.execute(road.reserve(1)))
    for name in (
        keys.job(job_id),
        keys.started("default"),
        keys.leases("default"),
        keys.wake("default"),
        keys.live_jobs(road.owner),
        keys.stats("default"),
        keys.OWNERS,
        keys.SCHEDULED,
    ):
        assert road.redis.exists(name), name
    assert road.redis.zscore(keys.SCHEDULED, str(later))
    assert road.redis.exists(keys.job(new_id())) == 0


def test_a_heart_that_cannot_register_still_renews_what_its_worker_holds(road: Road) -> None:
    class Unable:
        def sign_on(self) -> None:
            raise ResponseError("OOM command not allowed")

        sign_off = sign_on

    road.submit("test.probe")
    deliveries = road.reserve()
    before = road.redis.zscore(keys.leases("default"), deliveries[0].id) or 0
    heart = Heart(road.leases, Unable(), 0.2)  # type: ignore[arg-type]
    with heart.holding(deliveries):
        heart.start()
        until(lambda: (road.redis.zscore(keys.leases("default"), deliveries[0].id) or 0) > before, 10)
    heart._stopped.set()
