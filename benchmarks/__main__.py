"""`python -m benchmarks quick|standard|full [--only PART,PART]`: measure, print the tables, keep the results."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress
from time import monotonic
from types import FrameType

from benchmarks import machine, report
from benchmarks.environment import peers_python
from benchmarks.plan import PLANS
from benchmarks.run import PARTS, prepared
from benchmarks.servers import ROOT
from local.processes import StartError, make_passable

FOLDER = ROOT / ".local" / "bench"


class StoppedError(Exception):
    """Somebody asked for an end, or time is over."""


def main() -> int:
    """The exit status: 0 when every job of every system had its row, whatever the bars say."""
    asked = _parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _stop)
    plan, began = PLANS[asked.plan], monotonic()
    busy = machine.in_use()
    if busy > machine.BUSY_PERCENT:
        print(f"Others use {busy:.0f} % of this machine: figures will come out lower than they are.", flush=True)
    machine.keep_to_processors()
    make_passable(ROOT / ".local")
    make_passable(FOLDER)
    try:
        python = peers_python(FOLDER)
        signal.alarm(plan.most_seconds)
        with prepared(FOLDER, plan) as run:
            facts = machine.facts(run.servers) | {"in_use_before_percent": busy}
            for name in asked.only:
                PARTS[name](run)
            found = report.results(run, facts)
    except StoppedError as stopped:
        print(f"Stopped ({stopped}); everything that ran for the benchmark has ended.", file=sys.stderr)
        return 130
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    signal.alarm(0)
    report.show(found)
    print(f"{monotonic() - began:.0f} s")
    if plan.name == "quick" or asked.only != list(PARTS):
        file = FOLDER / f"{plan.name}.json"
        report.keep(found, file)
        print(f"Kept in {file.relative_to(ROOT)}; only a whole `make bench` or `make bench-full` is published.")
    else:
        report.publish(found, python)
    return 1 if found["problems"] else 0


def _stop(number: int, frame: FrameType | None) -> None:
    """Once: whoever cleans up is not to be interrupted."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(each, signal.SIG_IGN)
    raise StoppedError(signal.Signals(number).name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("plan", choices=PLANS)
    parser.add_argument("--only", type=_parts, default=list(PARTS), help=f"some of {','.join(PARTS)}")
    return parser


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
