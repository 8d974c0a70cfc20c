"""What `make controls` takes out of the code is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controls.__main__ import DEFENCES
from tests.controls.defences import Defence

ROOT = Path(__file__).resolve().parent.parent.parent


def test_no_two_controls_have_one_name() -> None:
    assert len({defence.name for defence in DEFENCES}) == len(DEFENCES)


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.name)
def test_a_defence_stands_once_where_its_control_looks_for_it(defence: Defence) -> None:
    assert (ROOT / defence.file).read_text().count(defence.old) == 1
    assert (ROOT / defence.test.split(" ", maxsplit=1)[0].split("::", maxsplit=1)[0]).exists()
