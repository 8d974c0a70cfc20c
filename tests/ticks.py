"""Periodic kinds for tests. `python -m tests.ticks` is `python -m workers.scheduler` with these kinds declared."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.kernel import registry
from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.policy import Access, Policy
from tests.probes import LOG, QUICK
from workers import scheduler

BY_US = Policy("default", access=Access.OPERATOR, retry=QUICK)


class Tick(Command, kind="test.tick", policy=BY_US, every="call_reconcile_seconds"):
    """Leave an effect."""

    def handle(self, ctx: Context, job: Job[Any]) -> None:
        ctx.session.execute(LOG, {"id": job.id, "attempt": job.attempt})


class Tock(Tick, kind="test.tock", policy=BY_US, every="call_silent_seconds"):
    """Leave an effect, at times of its own."""


KINDS = (Tick, Tock)


def declare() -> None:
    """Let this process know these kinds."""
    for kind in KINDS:
        registry.add(kind)


@contextmanager
def declared() -> Iterator[None]:
    """Know them for the length of a block."""
    declare()
    try:
        yield
    finally:
        for kind in KINDS:
            registry.remove(kind)


for kind in KINDS:  # who wants them declares them
    registry.remove(kind)

if __name__ == "__main__":
    declare()
    sys.exit(scheduler.main())
