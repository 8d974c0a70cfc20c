"""Entry of processes that a storm hits: `python -m tests.storm.entry …` is `python -m workers …`, with the kinds of
`tests.probes`, and `tests.storm.entry:create_app()` is the application. Before they start,

- STORM_PLAN arms fail points (`jobs.kernel.failpoints.arm`), whose stall takes STORM_STALL seconds;
- STORM_SABOTAGE names what of `tests.storm.sabotage`, `call_sabotage` and `event_sabotage` is applied.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from flask import Flask

from jobs.kernel import failpoints
from tests import probes
from tests.storm import call_sabotage, event_sabotage, sabotage  # noqa: F401 - the first two by declaring their own
from tests.system.stack import Entry


def entry(sabotaged: str = "", **told: str) -> Entry:
    """How the processes of a stack are entered by way of this module."""
    more: Mapping[str, str] = {"STORM_SABOTAGE": sabotaged, **told}
    return Entry("tests.storm.entry:create_app()", "tests.storm.entry", more)


def create_app() -> Flask:
    prepare()
    from api.app import create_app as make

    return make()


def prepare() -> None:
    """Arm and sabotage this process, as its environment says."""
    failpoints.STALL_SECONDS = float(os.environ.get("STORM_STALL", failpoints.STALL_SECONDS))
    failpoints.arm(os.environ.get("STORM_PLAN", ""))
    sabotage.apply(os.environ.get("STORM_SABOTAGE", ""))


if __name__ == "__main__":
    from workers import __main__ as workers

    workers.this_python = lambda *arguments: [sys.executable, "-m", "tests.storm.entry", *arguments]
    if "--child" in sys.argv:
        prepare()
        probes.declare()
    sys.exit(workers.main())
