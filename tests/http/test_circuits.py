"""How the services outside stand, as clients see it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from jobs.kernel.ports import CIRCUITS, Lost
from jobs.kernel.times import read
from tests.gates import PAUSE, Gates
from tests.http.conftest import Client
from tests.road import Road
from workers.gate import JITTER

PATHS = ("/v1/circuits", "/v1/events/circuit-status")


CLOSED = {"state": "closed", "failures": 0, "opened_at": None, "next_probe_at": None}


@pytest.fixture(params=CIRCUITS)
def gates(road: Road, request: pytest.FixtureRequest) -> Iterator[Gates]:
    made = Gates(road, request.param)
    yield made
    made.close()


@pytest.mark.parametrize("path", PATHS)
def test_a_circuit_that_nobody_has_entered_is_closed(path: str, user: Client) -> None:
    answer = user.get(path)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.get_json() == {"carrier": CLOSED, "event_sink": CLOSED}


@pytest.mark.parametrize("path", PATHS)
def test_who_asks_sees_it_open_come_back_and_close(path: str, user: Client, gates: Gates) -> None:
    def shown() -> dict[str, object]:
        circuits: dict[str, dict[str, object]] = user.get(path).get_json()
        assert [circuit for name, circuit in circuits.items() if name != gates.name] == [CLOSED]
        return circuits[gates.name]

    gates.open(gates.make())
    seen = shown()
    assert (seen["state"], seen["failures"]) == ("open", 3)
    opened_at, next_probe_at = read(seen["opened_at"]), read(seen["next_probe_at"])
    assert timedelta(0) <= gates.now - opened_at <= timedelta(seconds=5 * 1.0)
    pause = (next_probe_at - opened_at).total_seconds()
    assert PAUSE * (1 - JITTER) <= pause <= PAUSE * (1 + JITTER)
    gates.elapse(PAUSE * (1 + JITTER))
    due = shown()
    assert (due["state"], due["next_probe_at"]) == ("half_open", None), "nobody has asked for the probe yet"
    assert due["opened_at"] is not None
    gates.end(gates.make())
    assert shown()["state"] == "half_open", "one success is not enough"
    gates.elapse(30)
    assert shown() == CLOSED


def test_only_failures_that_still_count_are_shown(user: Client, gates: Gates) -> None:
    gate, seen = gates.make(), []
    for _ in range(2):
        gates.end(gate, Lost())
        seen.append(user.get(PATHS[0]).get_json()[gates.name]["failures"])
        gates.elapse(20)
    seen.append(user.get(PATHS[0]).get_json()[gates.name]["failures"])
    assert seen == [1, 2, 1]
