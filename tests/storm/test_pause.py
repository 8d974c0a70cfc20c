"""A worker stopped in the middle of a transaction, which goes on long after its leases have run out."""

from __future__ import annotations

from pathlib import Path

from tests.storm.quick import assert_met
from tests.storm.rows import pause


def test_others_do_the_work_of_a_worker_that_is_stopped_and_its_late_commit_does_nothing(tmp_path: Path) -> None:
    assert_met(pause.ROW, tmp_path)
