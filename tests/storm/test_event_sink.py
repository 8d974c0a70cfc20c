"""Events to a sink that fails in every way it can, by workers that are killed."""

from __future__ import annotations

from pathlib import Path

from tests.storm.quick import assert_met
from tests.storm.rows import event_sink


def test_every_event_reaches_a_sink_that_fails_and_is_known_there_by_its_key(tmp_path: Path) -> None:
    assert_met(event_sink.ROW, tmp_path)
