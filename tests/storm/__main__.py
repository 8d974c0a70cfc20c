"""`python -m tests.storm [ROW …]`: run the fault tests and their negative controls, and print a line for each.

SEED=… in the environment reruns what was left to chance. The exit status is 0 only when every bar was met and every
control failed as it must.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.storm.row import Control, Result, Row, Trial
from tests.storm.rows import ON_REQUEST, ROWS

NAMES = [row.name for row in (*ROWS, *ON_REQUEST)]


def main() -> int:
    asked = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    print(f"SEED={seed}", flush=True)
    began, good = time.monotonic(), True
    for row in [row for row in (*ROWS, *ON_REQUEST) if row.name in asked.rows] or ROWS:
        if not asked.controls_only:
            good &= _judge(row, seed, asked.quick)
        if not asked.no_controls:
            for control in row.controls:
                good &= _must_fail(row, control, seed)
    print(
        f"{'All as it must be' if good else 'NOT all as it must be'}, in {(time.monotonic() - began) / 60:.1f} minutes"
    )
    return 0 if good else 1


def _judge(row: Row, seed: int, quick: bool) -> bool:
    result, took = tried(row, seed, quick)
    said = "met" if not result.missed else "MISSED"
    print(f"{said} | {row.name} | {result.figures} | bar: {row.bar} | {took:.0f} s", flush=True)
    for missed in result.missed:
        print(f"    {missed}", flush=True)
    return not result.missed


def _must_fail(row: Row, control: Control, seed: int) -> bool:
    result, took = tried(row, seed, True, control)
    without = control.sabotaged or " ".join(f"{name} {value}" for name, value in control.redis_options.items())
    shown = [missed for missed in result.missed if control.shows in missed]
    said = "control failed as it must" if shown else "CONTROL DID NOT FAIL AS IT MUST"
    why = shown[0] if shown else f"{result.figures} {result.missed}"
    print(f"{said} | {row.name}, {without} | {why} | {took:.0f} s", flush=True)
    return bool(shown)


def tried(row: Row, seed: int, quick: bool, control: Control | None = None) -> tuple[Result, float]:
    """What came of a row, and the seconds it took. A trial that does not come to its end is a miss."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="storm-", ignore_cleanup_errors=True) as folder:
        sabotaged, options = (control.sabotaged, control.redis_options) if control else ("", {})
        trial = Trial(Path(folder), random.Random(f"{seed} {row.name}"), quick, 1, sabotaged, options)
        try:
            result = row.run(trial)
        except AssertionError as error:
            result = Result("it did not come to its end", [str(error) or repr(error)])
    return result, time.monotonic() - began


def _name(text: str) -> str:
    if text not in NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(NAMES)}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("rows", nargs="*", type=_name, help=f"of {', '.join(NAMES)}; by default all but the last")
    parser.add_argument("--quick", action="store_true", help="the small variants")
    parser.add_argument("--no-controls", action="store_true")
    parser.add_argument("--controls-only", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
