"""The order timing rule as a pure function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from jobs.rules import TICK, first_free

WINDOW = timedelta(hours=3)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_nothing_taken_leaves_the_moment_as_it_is() -> None:
    assert first_free(NOON, [], WINDOW) == NOON


def test_exactly_the_window_apart_is_still_too_soon() -> None:
    assert first_free(NOON, [NOON - WINDOW], WINDOW) == NOON + TICK
    assert first_free(NOON, [NOON + WINDOW], WINDOW) == NOON + 2 * WINDOW + TICK


def test_one_tick_past_the_window_is_free() -> None:
    assert first_free(NOON, [NOON - WINDOW - TICK, NOON + WINDOW + TICK], WINDOW) == NOON


def test_gaps_too_narrow_for_two_windows_are_passed_over() -> None:
    taken = [NOON + timedelta(hours=hours) for hours in (0, 5, 10)]
    assert first_free(NOON, taken, WINDOW) == NOON + timedelta(hours=13) + TICK


moments = st.integers(0, 10_000).map(lambda minutes: NOON + timedelta(minutes=minutes))


@given(moment=moments, taken=st.lists(moments, max_size=20), hours=st.integers(0, 5))
def test_what_is_free_is_outside_every_window_and_nothing_before_it_is(
    moment: datetime, taken: list[datetime], hours: int
) -> None:
    window = timedelta(hours=hours)
    free = first_free(moment, taken, window)
    assert free >= moment
    assert all(abs(free - other) > window for other in taken)
    edges = [moment, *(other + window + TICK for other in taken)]
    assert all(any(abs(edge - other) <= window for other in taken) for edge in edges if moment <= edge < free)
