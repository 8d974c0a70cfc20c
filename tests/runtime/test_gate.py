"""The circuit around a service outside, as all workers share it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import pytest

from jobs.kernel import broker
from jobs.kernel.errors import Snooze
from jobs.kernel.ports import Busy, Denied, LeaseLost, Lost, Refused, Unreached
from local.redis import Redis
from tests.gates import PAUSE, WINDOW, Gates
from tests.road import Road
from workers.gate import JITTER, PERMIT_SECONDS, SPREAD, Gate

REFUSED = Refused(21211, "That is no number.")
DENIED = Denied(20003, "The account is wrong.")
CLOSED = {"state": "closed", "failures": 0, "opened_at": None, "next_probe_at": None}


@pytest.fixture
def gates(road: Road) -> Iterator[Gates]:
    made = Gates(road)
    yield made
    made.close()


@pytest.mark.parametrize(("apart", "state"), [(0, "open"), (14, "open"), (16, "closed"), (40, "closed")])
def test_three_failures_within_the_window_open_it(gates: Gates, apart: int, state: str) -> None:
    gate = gates.make()
    for number in range(3):
        assert gates.state == "closed"
        gates.elapse(apart if number else 0)
        gates.end(gate, Unreached())
    assert gates.state == state
    assert gates.passes(gate) is (state == "closed")


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        *((error, "open") for error in (Unreached(), Busy(), Lost(), DENIED)),
        *((error, "closed") for error in (REFUSED, LeaseLost(), ValueError(), KeyboardInterrupt(), None)),
    ],
    ids=repr,
)
def test_only_trouble_is_a_failure_of_the_services(gates: Gates, raised: BaseException | None, state: str) -> None:
    gate = gates.make()
    for _ in range(3):
        gates.end(gate, raised)
    assert gates.state == state


def test_nobody_passes_while_it_is_open(gates: Gates) -> None:
    gate, since = gates.make(), gates.now
    gates.open(gate)
    for _ in range(5):
        with pytest.raises(Snooze) as snoozed, gate.enter():
            raise AssertionError
        wait = (snoozed.value.until - since).total_seconds()
        assert PAUSE * (1 - JITTER) <= wait <= PAUSE * (1 + JITTER) + SPREAD + 1
    gates.elapse(PAUSE * (1 - JITTER) - 1)
    assert not gates.passes(gate)


def test_one_of_fifty_who_ask_at_once_is_the_probe(gates: Gates) -> None:
    gates.half_open()
    everyone = [gates.make() for _ in range(50)]
    barrier = Barrier(len(everyone))

    def ask(gate: Gate) -> bool | None:
        barrier.wait()
        try:
            with gate.enter() as permit:
                barrier.wait()  # nobody gives it back before all have asked
                return permit.probe
        except Snooze:
            barrier.wait()
            return None

    with ThreadPoolExecutor(len(everyone)) as threads:
        answers = list(threads.map(ask, everyone))
    assert sorted(answers, key=str) == [None] * 49 + [True]


def test_a_probe_that_is_never_heard_of_is_replaced(gates: Gates) -> None:
    gate = gates.half_open()
    killed = gate._ask(None)
    gates.elapse(PERMIT_SECONDS - 2)
    assert not gates.passes(gate)
    gates.elapse(3)
    with gate.enter() as permit:
        assert permit.probe
        for verdict in ("failure", "success"):
            gate._tell(killed, verdict)
        assert not gates.passes(gate), "what is heard of it then changes nothing"
        assert gates.state == "half_open"


def test_a_probe_that_tells_nothing_is_given_back(gates: Gates) -> None:
    gate = gates.half_open()
    for _ in range(3):
        gates.end(gate, LeaseLost())
        assert gates.state == "half_open"
    with gate.enter() as permit:
        assert permit.probe


def test_load_returns_gradually(gates: Gates) -> None:
    gate = gates.half_open()
    for limit in (1, 2, 4, 8):
        first = gates.all_that_pass(gate, most=20)
        gate._tell(first[0], "neither")
        for leave in first[1:]:
            gate._tell(leave, "success")
        second = gates.all_that_pass(gate, most=20)
        assert [len(first), len(second)] == [limit, limit], "no more before as many have succeeded"
        assert all(leave.probe is (limit == 1) for leave in first + second)
        assert gates.state == "half_open"
        gate._tell(second[0], "success")
        for leave in second[1:]:
            gate._tell(leave, "neither")
    assert gates.view == CLOSED
    assert len(gates.all_that_pass(gate, most=20)) == 20


def test_it_closes_when_it_has_come_back_for_as_long_as_a_failure_counts(gates: Gates) -> None:
    gate = gates.half_open()
    gates.elapse(WINDOW)
    assert gates.state == "half_open", "before a probe has succeeded, no time is enough"
    gates.end(gate)
    gates.elapse(WINDOW - 1)
    assert gates.state == "half_open"
    gates.elapse(1)
    assert gates.view == CLOSED
    assert len(gates.all_that_pass(gate, most=20)) == 20


def test_each_opening_takes_longer_until_it_has_closed(gates: Gates) -> None:
    gate = gates.make()
    gates.open(gate)
    since = gates.view["opened_at"]
    for times in (1, 2, 4, 8, 8):
        assert PAUSE * times * (1 - JITTER) - 1 <= gates.opens_for <= PAUSE * times * (1 + JITTER)
        assert not gates.passes(gate)
        gates.elapse(PAUSE * times * (1 + JITTER))
        gates.end(gate)  # the probe, which succeeds; one of the next two does not
        gates.end(gate, Unreached())
        assert gates.state == "open"
    assert gates.view["opened_at"] < since, "it has opened once, in times that were moved back"
    gates.elapse(PAUSE * 8 * (1 + JITTER))
    gates.end(gate)
    gates.elapse(WINDOW)
    gates.open(gate)
    assert gates.opens_for <= PAUSE * (1 + JITTER)


def test_a_failure_while_it_returns_takes_back_all_permits(gates: Gates) -> None:
    gate = gates.half_open()
    for _ in range(3):
        gates.end(gate)
    out = gates.all_that_pass(gate, most=20)
    gate._tell(out[0], "failure")
    assert gates.state == "open"
    opens_for = gates.opens_for
    for leave, verdict in zip(out[1:3], ("failure", "success"), strict=True):
        gate._tell(leave, verdict)
    assert gates.state == "open"
    assert gates.opens_for <= opens_for
    gates.elapse(opens_for)
    with gate.enter() as permit:
        assert permit.probe, "it waits for no permit of before, though one is still out"


def test_an_opening_takes_no_longer_than_a_service_wants(gates: Gates) -> None:
    gate = gates.make(longest=1)
    gates.open(gate)
    for _ in range(3):
        assert PAUSE * (1 - JITTER) - 1 <= gates.opens_for <= PAUSE * (1 + JITTER)
        gates.elapse(PAUSE * (1 + JITTER))
        gates.end(gate, Unreached())


@pytest.mark.parametrize("verdict", ["failure", "success"])
def test_what_comes_late_of_before_it_opened_changes_nothing(gates: Gates, verdict: str) -> None:
    gate = gates.make()
    early = gates.all_that_pass(gate, most=8)

    def nothing_changes() -> None:
        before = gates.view
        gate._tell(early.pop(), verdict)
        gate._tell(early.pop(), verdict)
        assert gates.view == before

    gates.open(gate)
    nothing_changes()
    gates.elapse(PAUSE * (1 + JITTER))
    with gate.enter() as probe:
        nothing_changes()
        assert not gates.passes(gate)
    assert probe.probe
    nothing_changes()
    assert len(gates.all_that_pass(gate, most=20)) == 2
    gates.elapse(WINDOW)
    nothing_changes()
    assert gates.view == CLOSED


def test_services_have_circuits_of_their_own(gates: Gates) -> None:
    gate, other = gates.make(rate=1), gates.make(name="elsewhere", rate=1)
    assert gates.passes(gate, turn="a")
    gates.open(gate)
    assert gates.passes(other, turn="b")
    assert not gates.passes(gate, turn="b")


def test_who_asks_without_redis_is_told_so_and_what_was_done_is_kept(gates: Gates, redis_server: Redis) -> None:
    gate = gates.make()

    def ask() -> None:
        with gate.enter():
            redis_server.kill()
            raise Unreached

    with pytest.raises(Unreached):  # the service's own, and no other
        ask()
    try:
        with pytest.raises(broker.LOST), gate.enter():
            raise AssertionError
    finally:
        redis_server.start()
    assert gates.passes(gate)


def test_it_moves_in_a_full_redis_too(gates: Gates) -> None:
    """What waits there is drained only by asking."""
    gate = gates.make(rate=1000)
    with full(gates):
        assert gates.passes(gate, turn="a")
        gates.open(gate)
        assert not gates.passes(gate, turn="b")
    gates.elapse(PAUSE * (1 + JITTER))
    with full(gates):
        gates.end(gate)
        assert gates.state == "half_open"


@contextmanager
def full(gates: Gates) -> Iterator[None]:
    """Redis has no room, for the length of a block."""
    limit = gates.redis.config_get("maxmemory")["maxmemory"]
    gates.redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        gates.redis.config_set("maxmemory", limit)
