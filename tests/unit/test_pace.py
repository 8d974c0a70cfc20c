"""The pace of a worker: small when there is little, large under backlog, smaller when batches take long."""

from __future__ import annotations

from workers.pace import BRISK_SECONDS, FIRST, SLOW_SECONDS, Pace

QUICK, LONG = BRISK_SECONDS / 2, SLOW_SECONDS * 2


def test_under_backlog_it_doubles_up_to_the_most() -> None:
    pace = Pace(100)
    sizes = []
    for _ in range(3):
        sizes.append(pace.size)
        pace.learn(pace.size, QUICK)
    assert sizes == [FIRST, FIRST * 2, 100]


def test_a_batch_that_took_long_halves_it_down_to_one() -> None:
    pace = Pace(100)
    for _ in range(10):
        pace.learn(pace.size, LONG)
    assert pace.size == 1


def test_a_batch_that_took_neither_long_nor_little_leaves_it() -> None:
    pace = Pace(100)
    pace.learn(pace.size, (BRISK_SECONDS + SLOW_SECONDS) / 2)
    assert pace.size == FIRST


def test_with_little_to_do_it_comes_down_again_so_that_idle_workers_share() -> None:
    pace = Pace(200)
    while pace.size < 200:
        pace.learn(pace.size, QUICK)
    for _ in range(5):
        pace.learn(1, QUICK)
    assert pace.size == FIRST


def test_the_most_bounds_it_from_the_beginning() -> None:
    assert Pace(5).size == 5


def test_nothing_is_taken_ahead_before_a_batch_has_ended_soon() -> None:
    pace = Pace(100)
    assert not pace.brisk
    pace.learn(10, QUICK)
    assert pace.brisk
    pace.learn(10, LONG)
    assert not pace.brisk
