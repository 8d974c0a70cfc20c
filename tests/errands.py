"""A conducted kind for tests: what it does, and how it ends, is in its body. `tests.probes` declares it with its own."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from functools import partial
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text

from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Cancelled, Conflict, Failed, Snooze
from jobs.kernel.outcome import Again, Outcome, failed, rejected, succeeded
from jobs.kernel.policy import Policy, Retry
from jobs.kernel.ports import Conclusion, Outside
from models.views import instant

SCHEMA = "CREATE TABLE IF NOT EXISTS begun (job_id uuid, attempt int, at timestamptz DEFAULT clock_timestamp())"
BEGIN = text("INSERT INTO begun (job_id, attempt) VALUES (:id, :attempt)")
BEGUN = text("SELECT count(*) FROM begun WHERE job_id = :id")
MET = text("SELECT count(DISTINCT job_id) FROM begun")
END = text("INSERT INTO effects (job_id, attempt) VALUES (:id, :attempt)")
RAISED = {
    "reject": Conflict("as asked", code="asked_for"),
    "fail": Failed("As asked.", code="asked_for"),
    "cancel": Cancelled(),
    "raise": RuntimeError("as asked"),
    "lose a server": ConnectionRefusedError("as asked"),
    "lose Redis": RedisConnectionError("as asked"),
}


class Errand(Command, kind="test.errand", policy=Policy("calls", retry=Retry(3, 0.001, 0.001), timeout=3)):
    """Write down that it has begun; do as asked, outside PostgreSQL; then leave an effect and end as asked."""

    do: str = "nothing"
    end: str = "nothing"
    seconds: float = 0
    others: int = 0

    def under_way(self, ctx: Context, job: Job[Any]) -> bool:
        return bool(ctx.session.scalar(BEGUN, {"id": job.id}))

    def conduct(self, outside: Outside, job: Job[Any]) -> Conclusion:
        with outside.transaction() as ctx:
            ctx.session.execute(BEGIN, {"id": job.id, "attempt": job.attempt})
            begun = ctx.session.scalar(BEGUN, {"id": job.id})
        time.sleep(self.seconds)
        if self.do in RAISED:
            raise RAISED[self.do]
        match self.do:
            case "snooze" if begun == 1:
                raise Snooze(ctx.now + timedelta(hours=1))
            case "lose PostgreSQL":
                with outside.transaction() as other:
                    other.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            case "exit":
                os._exit(1)
            case "hang" if begun == 1:
                time.sleep(60)
            case "meet":
                self._meet(outside)
            case "insist":
                outside.insist()
            case "call":
                outside.carrier.check()
            case "ask":
                with outside.enter("test", turn=str(job.id)) as permit:
                    return lambda _: succeeded({"probe": permit.probe})
        return partial(self._end, job)

    def _meet(self, outside: Outside) -> None:
        """Wait until so many have begun that are there at once."""
        for _ in range(40):
            with outside.transaction() as ctx:
                if ctx.session.scalar(MET) >= self.others:
                    return
            time.sleep(0.05)
        raise RuntimeError("nobody came")

    def _end(self, job: Job[Any], ctx: Context) -> Outcome:
        ctx.session.execute(END, {"id": job.id, "attempt": job.attempt})
        if self.end in RAISED:
            raise RAISED[self.end]
        match self.end:
            case "snooze":
                raise Snooze(ctx.now + timedelta(hours=1))
            case "return rejected":
                return rejected(Conflict("as asked", code="asked_for"))
            case "return failed":
                return failed(Failed("As asked.", code="asked_for"))
            case "return again":
                return Again(ctx.now + timedelta(hours=1), counted=False)
        return succeeded({"did": self.do, "at": instant(ctx.now)})
