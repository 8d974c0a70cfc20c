"""Kinds for tests: what they do is in their body. Effects go into `effects`, a log without any unique constraint, so
that no constraint can hide a duplicate.

`python -m tests.probes ARGUMENTS` is `python -m workers ARGUMENTS` with these kinds declared, `tests.probes:create_app()` the
application.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from flask import Flask
from sqlalchemy import text

from jobs.kernel import registry
from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Cancelled, Conflict, Failed, Snooze
from jobs.kernel.outcome import Outcome, succeeded
from jobs.kernel.policy import Policy, Retry
from tests import errands

QUICK = Retry(attempts=3, base=0.001, cap=0.001)
SCHEMA = "CREATE TABLE IF NOT EXISTS effects (job_id uuid, attempt int, at timestamptz DEFAULT clock_timestamp())"
LOG = text("INSERT INTO effects (job_id, attempt) VALUES (:id, :attempt)")


class Probe(Command, kind="test.probe", policy=Policy("default", retry=QUICK, timeout=3)):
    """Leave an effect, then do as asked: it may raise, wait, or kill its process."""

    do: str = "nothing"
    seconds: float = 1

    def handle(self, ctx: Context, job: Job[Any]) -> Any:
        ctx.session.execute(LOG, {"id": job.id, "attempt": job.attempt})
        match self.do:
            case "raise":
                raise RuntimeError("as asked")
            case "raise once" if job.attempt == 1:
                raise RuntimeError("as asked")
            case "reject":
                raise Conflict("as asked", code="asked_for")
            case "fail":
                raise Failed("As asked.", code="asked_for")
            case "cancel":
                raise Cancelled
            case "snooze" if job.waits == 0:
                raise Snooze(ctx.now + timedelta(hours=1), moment=ctx.now)
            case "segfault":
                ctypes.string_at(0)
            case "exit":
                os._exit(1)
            case "hang":
                time.sleep(60)
            case "sleep":
                time.sleep(self.seconds)
            case "sleep once" if job.attempt == 1:
                time.sleep(self.seconds)
        return {"did": self.do}


class ManyProbes(Command, kind="test.many", policy=Policy("default", retry=QUICK)):
    """Leave effects as a set; the set raises when any member is poisoned."""

    poison: bool = False

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        ctx.session.execute(LOG, [{"id": job.id, "attempt": job.attempt} for job in jobs])
        if any(job.command.poison for job in jobs):
            raise RuntimeError("poisoned")
        return [succeeded({"together": len(jobs)}) for _ in jobs]


class Parcel(Probe, kind="test.parcel", policy=Policy("deliveries", retry=QUICK, timeout=3)):
    """A probe that is carried out by a thread."""


KINDS = (Probe, ManyProbes, Parcel, errands.Errand)


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


def create_app() -> Flask:
    declare()
    from api.app import create_app as make

    return make()


for kind in KINDS:  # who wants them declares them: the catalogue of kinds is a test of its own
    registry.remove(kind)

if __name__ == "__main__":
    from workers import __main__ as entry

    entry.this_python = lambda *arguments: [sys.executable, "-m", "tests.probes", *arguments]
    declare()
    sys.exit(entry.main())
