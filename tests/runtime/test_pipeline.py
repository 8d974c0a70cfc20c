"""Calls ahead of their replies: in order, and all lost together with their connection."""

from __future__ import annotations

import pytest
from redis.commands.core import Script

from jobs.kernel import broker
from jobs.kernel.outcome import State
from local.processes import wait_until
from tests.road import Road
from workers.pipeline import Pipeline


@pytest.fixture
def echo(road: Road) -> Script:
    script = road.redis.register_script("return redis.call('INCRBY', 'echoed', ARGV[1])")
    script(args=[0])
    return script


def test_replies_come_in_the_order_of_their_calls_whoever_asks_first(road: Road, echo: Script) -> None:
    pipeline = Pipeline(road.redis)
    first, second, third = (pipeline.call(echo, [number]) for number in (1, 10, 100))
    assert (third.reply(), first.reply(), second.reply()) == (111, 1, 11)
    assert third.reply() == 111


def test_a_script_that_redis_has_forgotten_is_run_all_the_same_and_once(road: Road, echo: Script) -> None:
    road.redis.script_flush()
    pipeline = Pipeline(road.redis)
    assert [call.reply() for call in [pipeline.call(echo, [1]), pipeline.call(echo, [1])]] == [1, 2]


def test_a_connection_that_is_lost_takes_all_calls_under_way_with_it_and_the_next_has_a_new_one(
    road: Road, echo: Script
) -> None:
    pipeline = Pipeline(road.redis)
    pipeline.call(echo, [1]).reply()
    assert pipeline._connection is not None
    pipeline._connection._sock.close()
    calls = [pipeline.call(echo, [1]), pipeline.call(echo, [1])]
    with pytest.raises(broker.LOST):
        calls[0].reply()
    assert pipeline.call(echo, [0]).reply() in (1, 2)


def test_a_refusal_is_raised_where_its_reply_is_asked_for_and_nowhere_else(road: Road, echo: Script) -> None:
    pipeline = Pipeline(road.redis)
    refused, fine = pipeline.call(echo, ["x"]), pipeline.call(echo, [5])
    assert fine.reply() == 5
    with pytest.raises(broker.ResponseError):
        refused.reply()


def test_suspects_are_not_taken_ahead_of_a_batch_in_hand(road: Road) -> None:
    suspects = [road.submit("test.probe") for _ in range(4)]
    road.reserve()
    road.expire_leases()
    leases = road.worker()
    assert leases.taken(leases.ask(["default"], 10, "ahead")) == []
    taken = leases.reserve(["default"], 10)
    assert [delivery.job_id for delivery in taken] == suspects[:2]
    assert all(delivery.suspect for delivery in taken)


def test_a_worker_that_dies_counts_no_crash_against_what_it_had_taken_ahead(road: Road) -> None:
    job_id = road.submit("test.probe")
    leases = road.worker()
    for _ in range(3):
        asked = leases.ask(["default"], 10, "ahead")
        if leases.taken(asked):
            road.expire_leases()
    (delivery,) = road.reserve()
    assert (delivery.job_id, delivery.crashes) == (job_id, 0)


def test_a_lease_is_settled_once_however_often_it_is_told(road: Road) -> None:
    job_id = road.submit("test.probe")
    settlements = road.execute(road.reserve())
    assert [road.leases.settle(settlements), road.leases.settle(settlements)] == [1, 0]
    assert road.status(job_id) is State.SUCCEEDED
    assert road.redis.hget("millrace:stats:default", "succeeded") == b"1"


def test_what_is_to_be_done_before_a_call_is_done_before_it_and_refused_with_it(road: Road, echo: Script) -> None:
    pipeline = Pipeline(road.redis)
    after, plain = pipeline.call(echo, [1], first=("SET", "echoed", 10)), pipeline.call(echo, [1])
    refused, last = pipeline.call(echo, [100], first=("LPUSH", "echoed", 1)), pipeline.call(echo, [1])
    assert (plain.reply(), after.reply(), last.reply()) == (12, 11, 113)
    with pytest.raises(broker.ResponseError, match="WRONGTYPE"):
        refused.reply()


def test_who_waits_is_given_a_job_as_soon_as_it_is_queued(road: Road) -> None:
    leases = road.worker()
    asked = leases.ask(["default"], 10, within=4)
    assert wait_until(lambda: road.redis.info("clients")["blocked_clients"] == 1, within=5)
    job = road.submit("test.probe")
    (delivery,) = leases.taken(asked)
    assert (delivery.id, road.status(job)) == (str(job), State.RUNNING)


def test_who_waits_in_vain_has_nothing_after_a_while(road: Road) -> None:
    leases = road.worker()
    assert leases.taken(leases.ask(["default"], 10, within=1)) == []


def test_a_job_leased_to_somebody_who_could_not_wait_for_it_is_found_again(road: Road) -> None:
    leases = road.worker()
    asked = leases.ask(["default"], 10, within=4)
    assert wait_until(lambda: road.redis.info("clients")["blocked_clients"] == 1, within=5)
    job = road.submit("test.probe")
    assert leases._pipeline._connection is not None
    leases._pipeline._connection._sock.close()
    with pytest.raises(broker.LOST):
        leases.taken(asked)
    assert [delivery.id for delivery in leases.reserve(["default"], 10)] == [str(job)]
