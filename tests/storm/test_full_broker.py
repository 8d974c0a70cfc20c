"""A Redis that is full to its last byte."""

from __future__ import annotations

from pathlib import Path

from tests.storm.quick import assert_met
from tests.storm.rows import full_broker


def test_a_full_redis_refuses_writes_and_is_emptied_by_the_workers_alone(tmp_path: Path) -> None:
    assert_met(full_broker.ROW, tmp_path)
