"""A carrier that takes no calls for a while."""

from __future__ import annotations

from pathlib import Path

from tests.storm.quick import assert_met
from tests.storm.rows import circuit


def test_calls_wait_for_a_carrier_that_is_away_and_leave_it_in_peace(tmp_path: Path) -> None:
    assert_met(circuit.ROW, tmp_path)
