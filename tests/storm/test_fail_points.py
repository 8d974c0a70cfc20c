"""A process that dies or loses a reply at a labelled place of the road."""

from __future__ import annotations

from pathlib import Path

from tests.storm.quick import assert_met
from tests.storm.rows import fail_points


def test_a_fault_at_a_labelled_place_leaves_one_effect_of_each_write(tmp_path: Path) -> None:
    assert_met(fail_points.ROW, tmp_path)
