"""What a driver asks of a system, without one: the orders it makes, how it counts and times them."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.drain import _timed
from benchmarks.systems import driver
from benchmarks.systems.work import orders, owner


def recorder(*, bulk: bool) -> tuple[Any, list[dict[str, Any]]]:
    """A system that only remembers what it was asked for."""
    seen: list[dict[str, Any]] = []
    more = {"enqueue_many": seen.extend} if bulk else {}
    return SimpleNamespace(enqueue=seen.append, **more), seen


def test_customers_take_turns_and_each_has_one_owner() -> None:
    made = list(orders(7, 20, customers=10, owners=3))
    assert [order["customer_id"] for order in made[:4]] == ["customer-7", "customer-8", "customer-9", "customer-0"]
    assert {order["owner_id"] for order in made if order["customer_id"] == "customer-7"} == {owner(1)}
    assert len({order["owner_id"] for order in made}) == 3
    assert len({order["id"] for order in made}) == 20


@pytest.mark.parametrize("bulk", [False, True])
def test_as_many_orders_are_enqueued_as_are_asked_for(bulk: bool) -> None:
    system, seen = recorder(bulk=bulk)
    said = driver.enqueue(system, first=0, count=1234, seconds=60, bulk=bulk, customers=10_000, owners=1)
    assert said["count"] == len(seen) == 1234
    assert [order["customer_id"] for order in seen] == [f"customer-{number}" for number in range(1234)]
    assert said["seconds"] > 0


def test_enqueueing_stops_when_its_time_is_over() -> None:
    system, seen = recorder(bulk=False)
    said = driver.enqueue(system, first=0, count=1234, seconds=0, bulk=False, customers=10, owners=1)
    assert said["count"] == len(seen) == 0


def test_a_steady_rate_tells_when_each_order_was_asked_for() -> None:
    system, seen = recorder(bulk=False)
    said = driver.pace(system, first=0, rate=200, seconds=0.1, customers=10, owners=1)
    assert list(said["asked"]) == [order["id"] for order in seen]
    assert len(seen) == 20
    assert all(earlier < later for earlier, later in pairwise(said["asked"].values()))


def test_a_drain_is_over_when_every_row_is_there() -> None:
    counts = iter([0, 10, 40, 100])
    rate, cut = _timed(lambda: next(counts), 100, within=30)
    assert not cut
    assert rate > 0


def test_a_drain_that_takes_too_long_is_cut() -> None:
    rate, cut = _timed(lambda: 10, 100, within=0.1)
    assert cut
    assert 0 < rate < 200
