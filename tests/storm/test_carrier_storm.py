"""Calls through a carrier that fails in every way it can, by workers that are killed."""

from __future__ import annotations

from pathlib import Path

from tests.storm.quick import assert_met
from tests.storm.rows import carrier_storm


def test_nobody_is_phoned_twice_however_the_carrier_fails_and_workers_die(tmp_path: Path) -> None:
    assert_met(carrier_storm.ROW, tmp_path)
