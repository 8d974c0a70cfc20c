"""Workers, API, Redis and PostgreSQL killed while clients write: each write takes effect once (the promise)."""

from __future__ import annotations

from pathlib import Path

from tests.storm.quick import assert_met
from tests.storm.rows import kill_storm


def test_each_acknowledged_write_takes_effect_once_while_everything_is_killed(tmp_path: Path) -> None:
    assert_met(kill_storm.ROW, tmp_path)
