"""Fail points: nothing where nothing is armed, and once each where something is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.kernel import failpoints
from jobs.kernel.failpoints import Point, arm, reach

POINT = Point.SETTLE_BEGINS


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints._armed.clear()


def test_a_point_that_is_not_armed_does_nothing(tmp_path: Path) -> None:
    reach(POINT)
    arm(f"{Point.SUBMIT_BEGINS}=kill@{tmp_path / 'latch'}")
    reach(POINT)
    assert list(tmp_path.iterdir()) == []


def test_a_lost_reply_is_an_error_of_the_connection_and_comes_once(tmp_path: Path) -> None:
    arm(f"{POINT}=lose@{tmp_path / 'latch'}")
    with pytest.raises(RedisConnectionError):
        reach(POINT)
    reach(POINT)


def test_whoever_loses_a_reply_says_what_that_looks_like(tmp_path: Path) -> None:
    arm(f"{POINT}=lose@{tmp_path / 'latch'}")
    with pytest.raises(LookupError):
        reach(POINT, LookupError)


def test_a_stall_sleeps_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "STALL_SECONDS", 0.2)
    arm(f"{POINT}=stall@{tmp_path / 'latch'}")
    began = time.monotonic()
    reach(POINT)
    assert time.monotonic() - began >= 0.2


def test_a_plan_may_name_several_points_or_none(tmp_path: Path) -> None:
    arm("")
    assert failpoints._armed == {}
    arm(f"{POINT}=lose@{tmp_path / 'a'},{Point.BATCH_BEGINS}=kill@{tmp_path / 'b'}")
    assert set(failpoints._armed) == {POINT, Point.BATCH_BEGINS}


@pytest.mark.parametrize(
    "plan", ["settle.begins", "settle.begins=kill", "settle.begins=burn@/tmp/x", "nowhere=kill@/x"]
)
def test_a_plan_that_cannot_be_read_is_refused(plan: str) -> None:
    with pytest.raises(ValueError, match=r"label=fault@latch|is not a valid Point"):
        arm(plan)
    assert failpoints._armed == {}
