"""Policies: how long to wait before trying again, and whom to let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.kernel.policy import Access, Retry


@given(attempts=st.integers(1, 20), attempt=st.integers(1, 25))
def test_waits_grow_with_full_jitter_and_end(attempts: int, attempt: int) -> None:
    delay = Retry(attempts, base=0.5, cap=60).delay(attempt)
    if attempt >= attempts:
        assert delay is None
    else:
        assert delay is not None
        assert 0 <= delay <= min(60, 0.5 * 2 ** (attempt - 1))


def test_a_delay_can_be_told_after_any_number_of_attempts() -> None:
    assert 0 <= (Retry(100_000, base=0.5, cap=60).delay(99_999) or 0) <= 60


def test_jitter_spreads_over_the_whole_range() -> None:
    delays = [Retry(9, base=10, cap=10).delay(1) or 0 for _ in range(300)]
    assert min(delays) < 2
    assert max(delays) > 8


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 2, 1)])
def test_a_retry_policy_that_makes_no_sense_is_refused(wrong: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="Retry needs"):
        Retry(*wrong)


@pytest.mark.parametrize(
    ("access", "admitted"),
    [
        (Access.ANYONE, [None, "user", "admin"]),
        (Access.USER, ["user", "admin"]),
        (Access.ADMIN, ["admin"]),
    ],
)
def test_access_admits_by_role(access: Access, admitted: list[str | None]) -> None:
    assert [role for role in (None, "user", "admin") if access.admits(role)] == admitted
