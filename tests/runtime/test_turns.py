"""The rate at which a service outside is asked: who has to wait is given a turn, and comes back once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from jobs.kernel import keys
from jobs.kernel.errors import Snooze
from jobs.kernel.ports import Unreached
from jobs.kernel.times import read
from tests.gates import NAME, PAUSE, Gates
from tests.road import Road
from workers.gate import JITTER, Gate

TURNS = f"{keys.circuit(NAME)}:turns"


@pytest.fixture
def gates(road: Road) -> Iterator[Gates]:
    made = Gates(road)
    yield made
    made.close()


def told(gate: Gate, turn: str) -> datetime | None:
    """When to come back; None for one who has passed."""
    try:
        with gate.enter(turn=turn):
            return None
    except Snooze as snoozed:
        return snoozed.until


def apart(times: list[datetime]) -> set[float]:
    return {round((after - before).total_seconds(), 3) for before, after in pairwise(times)}


def test_turns_come_one_by_one_in_the_order_of_asking_and_each_passes_at_its_own(gates: Gates) -> None:
    gate, names = gates.make(rate=2), [f"job-{number}" for number in range(30)]
    began = gates.now
    first, *times = [told(gate, name) for name in names]
    assert first is None
    kept = [time for time in times if time]
    assert len(kept) == 29
    assert apart(kept) == {0.5}
    assert timedelta(seconds=0.5) <= kept[0] - began <= timedelta(seconds=1)
    for name, at in zip(names[1:], kept, strict=True):
        gates.elapse(0.5)
        assert told(gate, name) is None, at
    assert gates.redis.zcard(TURNS) == 0


def test_turns_of_all_who_ask_at_once_are_apart(gates: Gates) -> None:
    everyone = {f"job-{number}": gates.make(rate=0.1) for number in range(30)}
    with ThreadPoolExecutor(30) as threads:
        times = list(threads.map(lambda name: told(everyone[name], name), everyone))
    kept = sorted(time for time in times if time)
    assert len(kept) == 29
    assert apart(kept) == {10.0}


def test_who_comes_too_early_keeps_the_turn(gates: Gates) -> None:
    gate = gates.make(rate=0.1)
    assert told(gate, "first") is None
    at = told(gate, "second")
    after = told(gate, "third")
    for _ in range(3):
        assert told(gate, "second") == at
    assert told(gate, "third") == after


def test_who_come_late_together_still_pass_one_by_one(gates: Gates) -> None:
    gate, names = gates.make(rate=1), [f"job-{number}" for number in range(4)]
    for name in names:
        told(gate, name)
    gates.elapse(3)
    passed, waits = [], []
    for name in names[1:3]:
        waits.append(gate._ask(name).wait)
        passed.append(gates.last_passed)
    assert passed[1] - passed[0] >= timedelta(seconds=1)
    assert waits[0] == 0 < waits[1] <= 1
    at = told(gate, names[3])
    assert at is not None, "it would have to wait here for more than a second"
    assert gates.passed(at) - passed[1] >= timedelta(seconds=1)


def test_a_turn_that_nobody_takes_is_forgotten_and_holds_nobody_up(gates: Gates) -> None:
    gate = gates.make(rate=1)
    for name in ("first", "canceled"):
        told(gate, name)
    gates.elapse(30)
    assert gates.passes(gate, turn="later")
    gates.elapse(31)
    assert gates.passes(gate, turn="canceled"), "who comes back all the same is treated as new"
    assert gates.redis.zcard(TURNS) == 0


def test_without_a_turn_no_rate_is_kept_and_without_a_rate_no_turn(gates: Gates) -> None:
    slow, fast = gates.make(rate=0.01), gates.make(name="elsewhere")
    assert all(gates.passes(slow) for _ in range(5))
    assert gates.passes(slow, turn="a")
    assert all(gates.passes(slow) for _ in range(5))
    assert not gates.passes(slow, turn="b")
    assert all(gates.passes(fast, turn=f"job-{number}") for number in range(5))


@pytest.mark.parametrize(("rate", "seconds"), [(1, 1.0), (10, 0.1), (None, 0.01)])
def test_turns_of_an_open_circuit_begin_when_it_lets_pass_again(
    gates: Gates, rate: float | None, seconds: float
) -> None:
    gate = gates.make(rate=rate)
    gates.open(gate)
    times = [time for number in range(20) if (time := told(gate, f"job-{number}"))]
    assert apart(times) == {seconds}
    assert times[0] == read(gates.view["next_probe_at"])


@pytest.mark.parametrize("rate", [1, 0.2])
def test_turns_move_back_together_while_the_circuit_is_open(gates: Gates, rate: float) -> None:
    gate, names = gates.make(rate=rate), [f"job-{number}" for number in range(10)]
    for name in ["first", *names]:
        told(gate, name)
    gates.open(gate)
    gates.elapse(1 / rate)
    times = [time for name in names if (time := told(gate, name))]
    assert times[0] == read(gates.view["next_probe_at"])
    assert apart(times[1:]) == {1 / rate}
    assert times[0] < times[1] <= times[0] + timedelta(seconds=1 / rate)


class Line:
    """Jobs that ask at the times they are told, and at no other. Times are those of `gates`."""

    def __init__(self, gates: Gates, gate: Gate, jobs: int) -> None:
        self.gates, self.gate = gates, gate
        self.passed: list[timedelta] = []
        self.asks = 0
        self._at = {f"job-{number}": timedelta(0) for number in range(jobs)}

    def run(self, until: float, *, works: bool) -> None:
        """Go on to a moment, while the service works, or does not: then who has passed comes back in a second."""
        while self._at and min(self._at.values()) <= timedelta(seconds=until):
            name = min(self._at, key=self._at.__getitem__)
            self.gates.elapse(max(0.0, (self._at[name] - self.gates.since).total_seconds()))
            self._ask(name, works)

    def _ask(self, name: str, works: bool) -> None:
        self.asks += 1
        try:
            leave = self.gate._ask(name)
        except Snooze as snoozed:
            self._at[name] = self.gates.passed(snoozed.until)
            return
        self.passed.append(self.gates.last_passed)
        self.gate._tell(leave, "success" if works else "failure")
        if works:
            del self._at[name]
        else:
            self._at[name] = self.gates.since + timedelta(seconds=1)


def test_an_outage_is_asked_for_at_the_rate_and_all_pass_after_it(gates: Gates) -> None:
    line = Line(gates, gates.make(rate=1), jobs=40)
    line.run(5, works=True)
    healthy, done = line.asks, len(line.passed)
    assert done >= 5
    line.run(120, works=False)
    tried, asked = len(line.passed) - done, line.asks - healthy
    assert tried <= 3 + 5, "three failures, and a probe for each opening of 10, 20, 40, 80 seconds"
    assert asked <= 2 * (120 - 5), "each second one whose turn it is, and one whose turn was moved back"
    line.run(1000, works=True)
    assert len(line.passed) == 40 + tried
    assert gates.since < timedelta(seconds=120 + 88 + 2 * 40)
    assert all(after - before >= timedelta(seconds=1) for before, after in pairwise(line.passed))


def test_a_circuit_that_comes_back_lets_turns_pass_at_their_rate(gates: Gates) -> None:
    gate = gates.make(rate=10)
    gates.open(gate)
    names = [f"job-{number}" for number in range(5)]
    for name in names:
        told(gate, name)
    gates.elapse(PAUSE * (1 + JITTER))
    with gate.enter(turn=names[0]) as permit:
        assert permit.probe
        at = told(gate, names[1])
        assert at is not None, "the probe is still out"
        assert timedelta(0) < at - gates.now <= timedelta(seconds=0.5)
    gates.elapse(1)
    for name in names[1:]:
        with gate.enter(turn=name) as permit:
            assert not permit.probe
    gates.elapse(1)
    with pytest.raises(Unreached), gate.enter(turn="last"):
        raise Unreached
    assert gates.state == "open"


@pytest.mark.parametrize("rate", [1, 10])
def test_who_come_late_all_together_pass_at_the_rate_and_each_asks_once_more_at_most(
    gates: Gates, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers were away for 20 s: all turns have come, and cannot be taken at once."""
    gate, names = gates.make(rate=rate), [f"job-{number}" for number in range(30)]
    for name in names:
        told(gate, name)
    gates.elapse(20)
    monkeypatch.setattr("workers.gate.time.sleep", gates.elapse)
    began, asks, coming = gates.since, 0, dict.fromkeys(names[1:], gates.since)
    while coming:
        name = min(coming, key=lambda each: (coming[each], names.index(each)))
        gates.elapse(max(0.0, (coming.pop(name) - gates.since).total_seconds()))
        asks += 1
        if at := told(gate, name):
            coming[name] = gates.passed(at)
    assert gates.since - began < timedelta(seconds=1.5 * len(names) / rate)
    assert asks < 2.5 * len(names)


def test_who_passed_an_open_way_and_comes_back_moves_nobody(gates: Gates) -> None:
    """A turn ends when its holder passes, also where nobody asked for it; else it would be as late as that was long ago."""
    gate = gates.make(longest=1)
    gates.open(gate)
    assert not gates.passes(gate, "first")
    for _ in range(3):
        gates.elapse(PAUSE * (1 + JITTER))
        with suppress(Unreached), gate.enter(turn="first"):
            raise Unreached
    gates.elapse(PAUSE * (1 + JITTER))
    assert gate._ask(None).probe, "somebody is asking, so the others wait for half a second"
    for turn in ("second", "first", "second"):
        with pytest.raises(Snooze) as waits, gate.enter(turn=turn):
            pass
        assert (waits.value.until - gates.now).total_seconds() < 2
