"""A process that dies, loses a reply or is stopped at a labelled place on the road of a call."""

from __future__ import annotations

from pathlib import Path

from tests.storm.quick import assert_met
from tests.storm.rows import call_fail_points


def test_a_fault_at_a_labelled_place_phones_nobody_twice(tmp_path: Path) -> None:
    assert_met(call_fail_points.ROW, tmp_path)
