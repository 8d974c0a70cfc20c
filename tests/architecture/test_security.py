"""SECURITY.md names files and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line
    for line in (ROOT / "SECURITY.md").read_text().splitlines()
    if re.fullmatch(r"\|.*\| `.*` \| `tests/.*` \|", line)
]


def test_the_table_of_defences_is_found() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[2].strip())
def test_a_defence_is_where_it_is_said_to_be(row: str) -> None:
    *_, places, tests, _ = row.split("|")
    named = re.findall(r"`([^`]+)`", places + tests)
    assert [name for name in named if not (ROOT / name).exists()] == []
