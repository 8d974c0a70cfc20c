"""Deliveries of events, by the real executor and port, to a sink over HTTP that misbehaves in every way it can."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest

from jobs import events as kinds
from jobs.events import DeliverEvent
from jobs.kernel import keys
from jobs.kernel.outcome import FollowUp, State
from jobs.kernel.ports import Sink
from local.redis import Redis
from tests import events
from tests.events import delivery_of, due, go_on, recorded, replay, row, until_delivered, work
from tests.gates import PAUSE, Gates
from tests.road import Road
from tests.sinks import SinkServer, away, flaky, well
from workers.follow_ups import follow_up
from workers.gate import JITTER
from workers.settle import Final
from workers.work import opened

Execute = Callable[..., Any]
FAILURES = 3
"""That open the circuit."""


@pytest.fixture
def server() -> Iterator[SinkServer]:
    with SinkServer() as made:
        yield made


@pytest.fixture
def there(road: Road, server: SinkServer) -> Iterator[tuple[Road, Gates]]:
    """The road with a sink at its end, and the way there, whose time a test can let pass."""
    made, gates = events.connected(road, server)
    yield made, gates
    gates.close()
    made.close()


@pytest.fixture
def sunk(there: tuple[Road, Gates]) -> Road:
    return there[0]


@pytest.fixture
def gates(there: tuple[Road, Gates]) -> Gates:
    return there[1]


def deliver(road: Road, event: UUID) -> UUID:
    """Ask for a delivery by another job than its own."""
    return road.submit("events.deliver", {"event": str(event)}, owner=None)


# What the sink hears


def test_an_event_is_delivered_as_it_was_recorded(sunk: Road, server: SinkServer) -> None:
    (event,) = recorded(sunk, 1)
    result = sunk.job(event)["result"]
    assert (result["delivery"], row(sunk, event).delivery) == ("pending", "pending")
    work(sunk)
    (seen,) = server.seen
    assert seen.key == str(event)
    assert seen.body == {
        name: value for name, value in result.items() if name not in ("delivery", "delivered_at", "reason")
    }
    after = row(sunk, event)
    assert (after.delivery, after.version, after.reason) == ("delivered", 2, None)
    assert after.delivered_at is not None
    assert sunk.status(delivery_of(sunk, event)) is State.SUCCEEDED


def test_one_that_was_delivered_is_not_sent_again(sunk: Road, server: SinkServer) -> None:
    (event,) = recorded(sunk, 1)
    work(sunk)
    before, second = row(sunk, event), deliver(sunk, event)
    work(sunk)
    assert sunk.status(second) is State.SUCCEEDED
    assert (len(server.seen), row(sunk, event)) == (1, before)


def test_one_that_is_gone_needs_no_delivery(sunk: Road, server: SinkServer) -> None:
    job = deliver(sunk, uuid4())
    work(sunk)
    assert (sunk.status(job), server.seen) == (State.SUCCEEDED, [])


def test_one_that_is_gone_once_it_is_taken_is_let_go(sunk: Road, server: SinkServer, execute: Execute) -> None:
    (event,) = recorded(sunk, 1)

    def gone(number: int, key: str) -> int:
        execute("DELETE FROM events WHERE id = %s::uuid", key)
        return 200

    server.plan = gone
    work(sunk)
    assert sunk.status(delivery_of(sunk, event)) is State.SUCCEEDED


def test_one_whose_answer_is_lost_is_sent_again_under_its_key(sunk: Road, server: SinkServer) -> None:
    (event,) = recorded(sunk, 1)

    def slow_at_first(number: int, key: str) -> int:
        time.sleep(0 if number else 1.5)
        return 200

    server.plan = slow_at_first
    work(sunk)
    assert (sunk.status(delivery_of(sunk, event)), row(sunk, event).delivery) == (State.SCHEDULED, "pending")
    due(sunk)
    work(sunk)
    assert row(sunk, event).delivery == "delivered"
    assert {seen.key for seen in server.seen} == {str(event)}
    assert server.seen[0].body == server.seen[-1].body


class Died(BaseException):
    """A worker's end, in a process that lives on."""


class Deadly:
    """A sink that takes what it is sent, and whoever sent it hears no more of that."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def deliver(self, event_id: UUID, body: bytes) -> None:
        self._sink.deliver(event_id, body)
        raise Died


def test_one_whose_worker_died_when_it_was_taken_is_sent_again_under_its_key(sunk: Road, server: SinkServer) -> None:
    (event,) = recorded(sunk, 1)
    (delivery,) = sunk.reserve()
    assert sunk.sink is not None
    sunk.sink, kept = Deadly(sunk.sink), sunk.sink
    with pytest.raises(Died):
        sunk.conduct(opened(delivery))
    sunk.sink = kept
    sunk.expire_leases()
    work(sunk)
    assert row(sunk, event).delivery == "delivered"
    assert server.taken == {str(event): 2}


def test_a_worker_that_may_have_lost_its_lease_sends_nothing(sunk: Road, server: SinkServer) -> None:
    (event,) = recorded(sunk, 1)
    (delivery,) = sunk.reserve()
    sunk.leases.settle(sunk.conduct(opened(delivery), lambda: False))
    assert (server.seen, row(sunk, event).delivery) == ([], "pending")
    work(sunk)
    assert len(server.seen) == 1


# What it refuses


def test_one_that_the_sink_refuses_has_failed_and_says_why_until_it_is_sent_again_and_taken(
    sunk: Road, server: SinkServer
) -> None:
    server.plan = lambda number, key: 422
    (event,) = recorded(sunk, 1)
    work(sunk)
    job, after = delivery_of(sunk, event), row(sunk, event)
    assert (sunk.status(job), sunk.code(job)) == (State.FAILED, "event_refused")
    assert (after.delivery, after.version, after.delivered_at) == ("failed", 2, None)
    assert "422" in after.reason
    assert len(server.seen) == 1
    server.plan = well
    replay(sunk, job)
    work(sunk)
    after = row(sunk, event)
    assert (sunk.status(job), after.delivery, after.reason) == (State.SUCCEEDED, "delivered", None)
    assert server.seen[0].body == server.seen[1].body


def test_a_refusal_says_nothing_of_the_sink(sunk: Road, server: SinkServer, gates: Gates) -> None:
    server.plan = lambda number, key: 400
    recorded(sunk, 2 * FAILURES)
    work(sunk)
    assert (len(server.seen), gates.state) == (2 * FAILURES, "closed")


def test_one_that_the_sink_alone_cannot_take_fails_in_the_end_and_keeps_nobody_else_waiting_for_ever(
    sunk: Road, server: SinkServer, gates: Gates
) -> None:
    (poison,) = recorded(sunk, 1)
    server.plan = lambda number, key: 500 if key == str(poison) else 200
    for _ in range(20):
        fine = recorded(sunk, 2)
        go_on(sunk, gates)
        for _ in range(10):
            if all(row(sunk, event).delivery == "delivered" for event in fine):
                break
            go_on(sunk, gates)
        assert [row(sunk, event).delivery for event in fine] == ["delivered"] * 2
    sunk.redis.hset(keys.job(delivery_of(sunk, poison)), "attempts", DeliverEvent.policy.retry.attempts - 1)
    gates.elapse(PAUSE * 10)
    recorded(sunk, 20)
    until_delivered(sunk, gates, 50)
    assert row(sunk, poison).delivery == "failed"
    assert "500" in row(sunk, poison).reason
    assert sunk.code(delivery_of(sunk, poison)) == "event_undelivered"


# When it is away


@pytest.mark.parametrize("number", [1, 10])
def test_an_outage_uses_up_no_attempts_and_loses_nothing(
    sunk: Road, server: SinkServer, gates: Gates, number: int
) -> None:
    server.plan = away
    ids = recorded(sunk, number)
    for _ in range(50):
        go_on(sunk, gates)
    assert {row(sunk, event).delivery for event in ids} == {"pending"}
    attempts = [sunk.job(delivery_of(sunk, event))["attempts"] for event in ids]
    assert sum(attempts) <= FAILURES + 1
    server.plan = well
    until_delivered(sunk, gates, 20)
    assert server.taken == dict.fromkeys(map(str, ids), 1)


def test_nothing_is_asked_while_the_circuit_is_open(sunk: Road, server: SinkServer, gates: Gates) -> None:
    server.plan = away
    recorded(sunk, 30)
    work(sunk)
    assert (gates.state, len(server.seen)) == ("open", FAILURES)
    for opening in range(1, 6):
        for _ in range(5):
            due(sunk)
            work(sunk)
            assert len(server.seen) == FAILURES + opening - 1
        gates.elapse(PAUSE * (1 + JITTER))
        due(sunk)
        work(sunk)
        assert (gates.state, len(server.seen)) == ("open", FAILURES + opening), "one probe"


def test_a_sink_that_answers_five_times_and_fails_ten_times_gets_every_event_once(
    sunk: Road, server: SinkServer, gates: Gates
) -> None:
    server.plan = flaky
    ids = recorded(sunk, 33)
    rounds = until_delivered(sunk, gates, 400)
    assert server.taken == server.events == dict.fromkeys(map(str, ids), 1)
    failures = len(server.seen) - len(ids)
    assert failures <= rounds + FAILURES, "more than one for each time that the circuit let somebody pass"
    assert {sunk.status(delivery_of(sunk, event)) for event in ids} == {State.SUCCEEDED}


def test_a_sink_that_is_not_there_at_first_gets_everything_when_it_comes(road: Road, sunk: Road, gates: Gates) -> None:
    with SinkServer() as late:
        url = late.url
    moved, other = events.connected(road, late)
    ids = recorded(moved, 5)
    for _ in range(5):
        go_on(moved, other)
    assert {row(moved, event).delivery for event in ids} == {"pending"}
    with SinkServer() as late:
        found, way = events.connected(road, late)
        assert late.url != url
        until_delivered(found, way, 20)
        assert late.taken == dict.fromkeys(map(str, ids), 1)
        way.close()
        found.close()
    other.close()
    moved.close()


def test_where_no_sink_is_configured_any_more_deliveries_wait_for_one(
    sunk: Road, server: SinkServer, gates: Gates
) -> None:
    ids = recorded(sunk, 5)
    sunk.sink, kept = None, sunk.sink
    for _ in range(5):
        go_on(sunk, gates)
    assert {row(sunk, event).delivery for event in ids} == {"pending"}
    assert gates.view["failures"] >= FAILURES
    sunk.sink = kept
    until_delivered(sunk, gates, 20)
    assert server.taken == dict.fromkeys(map(str, ids), 1)


def test_all_that_wait_for_a_sink_reach_it_when_it_is_back_each_with_one_request(
    sunk: Road, server: SinkServer, gates: Gates
) -> None:
    server.plan = away
    ids = recorded(sunk, 200)
    work(sunk)
    asked = len(server.seen)
    server.plan = well
    until_delivered(sunk, gates, 60)
    assert server.taken == dict.fromkeys(map(str, ids), 1)
    assert len(server.seen) - asked == len(ids)


# What is lost on the way


def sweep(road: Road) -> tuple[dict[str, Any], list[FollowUp]]:
    """What a sweep has found, and sent."""
    job = road.submit("events.sweep", owner=None)
    road.redis.lmove(keys.queue("deliveries"), keys.queue("deliveries"), "RIGHT", "LEFT")
    (delivery,) = road.leases.reserve(["deliveries"], 1)
    (settlement,) = road.conduct(opened(delivery))
    road.leases.settle([settlement])
    assert road.status(job) is State.SUCCEEDED, road.job(job)
    assert isinstance(settlement.verdict, Final)
    follow_up(road.follow_ups, [settlement])
    return road.job(job)["result"], list(settlement.verdict.follow_ups)


def lost(road: Road, number: int) -> list[UUID]:
    """Events whose worker died before it could send their deliveries."""
    ids = [events.record(road) for _ in range(number)]
    while deliveries := road.reserve(500):
        road.leases.settle(road.execute(deliveries))
    return ids


def test_what_a_dead_worker_did_not_send_is_sent(sunk: Road, server: SinkServer, execute: Execute) -> None:
    ids = lost(sunk, 3)
    events.age(execute)
    result, followed = sweep(sunk)
    assert result == {"sent_again": 3, "given_up": 0}
    assert [one.id for one in followed] == [delivery_of(sunk, event) for event in ids]
    work(sunk)
    assert server.taken == dict.fromkeys(map(str, ids), 1)
    assert sweep(sunk)[0] == {"sent_again": 0, "given_up": 0}


def test_what_was_recorded_just_now_is_left_to_its_worker(sunk: Road, execute: Execute) -> None:
    lost(sunk, 1)
    patient = sunk.with_settings(event_sweep_seconds=60)
    assert sweep(patient)[0]["sent_again"] == 0
    patient.close()


def test_what_is_on_its_way_is_left(sunk: Road, server: SinkServer, gates: Gates, execute: Execute) -> None:
    server.plan = away
    recorded(sunk, 2 * FAILURES)
    events.age(execute)
    assert sweep(sunk)[0]["sent_again"] == 0, "queued"
    work(sunk)
    assert sweep(sunk)[0]["sent_again"] == 0, "put off"


def test_after_a_loss_of_all_that_redis_knew_everything_is_delivered(
    sunk: Road, server: SinkServer, redis_server: Redis, execute: Execute
) -> None:
    ids = recorded(sunk, 10)
    sunk.redis.flushall()
    events.age(execute)
    sweep(sunk)
    work(sunk)
    assert server.taken == dict.fromkeys(map(str, ids), 1)


def test_a_sweep_goes_on_from_page_to_page(
    sunk: Road, server: SinkServer, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "PAGE", 3)
    ids = lost(sunk, 20)
    events.age(execute)
    assert [sweep(sunk)[0]["sent_again"] for _ in range(2)] == [20, 0]
    work(sunk)
    assert server.taken == dict.fromkeys(map(str, ids), 1)


def test_a_sweep_that_runs_out_of_time_leaves_the_rest(
    sunk: Road, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count()
    monkeypatch.setattr(kinds, "PAGE", 3)
    monkeypatch.setattr(kinds, "SWEPT_WITHIN", 1.5)
    monkeypatch.setattr(kinds, "monotonic", lambda: float(next(clock)))
    lost(sunk, 10)
    events.age(execute)
    assert sweep(sunk)[0]["sent_again"] == 3


def test_a_delivery_that_failed_without_telling_its_event_is_told_and_not_tried_again(
    sunk: Road, server: SinkServer, execute: Execute
) -> None:
    died, canceled = recorded(sunk, 2)
    job = delivery_of(sunk, died)
    for _ in range(3):
        sunk.redis.lrem(keys.queue("deliveries"), 0, str(delivery_of(sunk, canceled)))
        sunk.reserve()
        sunk.expire_leases()
    work(sunk)
    assert sunk.code(job) == "worker_crashed"
    execute(
        "INSERT INTO receipts (id, kind, state, run, attempts, submitted_at, finished_at)"
        " VALUES (%s, 'events.deliver', 'canceled', 1, 0, now(), now())",
        str(delivery_of(sunk, canceled)),
    )
    sunk.redis.delete(keys.job(job), keys.job(delivery_of(sunk, canceled)))
    events.age(execute)
    assert sweep(sunk)[0] == {"sent_again": 0, "given_up": 2}
    assert (row(sunk, died).delivery, row(sunk, died).version) == ("failed", 2)
    assert "died" in row(sunk, died).reason
    assert row(sunk, canceled).reason == "Its delivery was canceled."
    assert server.seen == []
    assert sweep(sunk)[0] == {"sent_again": 0, "given_up": 0}


def test_without_a_sink_a_sweep_looks_at_nothing(sunk: Road, execute: Execute) -> None:
    lost(sunk, 1)
    events.age(execute)
    idle = sunk.with_settings(event_sink_url="")
    assert sweep(idle) == (None, [])
    idle.close()
