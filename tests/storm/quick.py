"""The small variants of the rows, as tests: what the bars want has to come of them in five times the time."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from tests.storm.row import PATIENT, Row, Trial


def assert_met(row: Row, folder: Path) -> None:
    """Run a row small. With the SEED it prints it is left to the same chance again."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    sys.stdout.write(f"SEED={seed}\n")
    result = row.run(Trial(folder, random.Random(f"{seed} {row.name}"), quick=True, slack=PATIENT))
    assert result.missed == [], (result.figures, result.missed)
