"""Recovery: a worker dies in the middle of a batch, and how long it takes until the job is done by another."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field

from jobs.kernel import keys
from tests import probes
from tests.processes import until
from tests.storm import faults
from tests.storm.load import Direct
from tests.storm.row import Control, Result, Row, Trial
from tests.system.servers import Servers

WORKERS = 6
TOGETHER = 3
P50_WITHIN, P99_WITHIN = 8, 20
LAST_WITHIN = 60
BETWEEN = 2.0
"""Seconds from one kill to the next: a process that dies more often is started again more slowly, and rightly so."""


@dataclass
class Deaths:
    """Kills of workers that held jobs. `held`: job id to the wall-clock time at which its worker was killed."""

    servers: Servers
    direct: Direct
    held: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def one(self, chance: random.Random) -> None:
        """Submit some jobs, and kill a worker that is at one of them."""
        ids = [self.direct.submit("test.probe", do="sleep once", seconds=0.8) for _ in range(TOGETHER)]
        self.asked += ids
        until(lambda: any(self._holders(ids).values()))
        time.sleep(chance.uniform(0.1, 0.4))
        holders = self._holders(ids)
        if victims := sorted(set(filter(None, holders.values()))):
            victim = chance.choice(victims)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            self.held |= {job_id: time.time() for job_id, holder in holders.items() if holder == victim}

    def seconds(self) -> list[float]:
        """Of each job that was held: from the kill to its outcome; those without one are left out."""
        asked = "SELECT id::text, extract(epoch FROM finished_at)::float8 FROM receipts WHERE id = ANY(%s::uuid[])"
        done = dict(self.servers.rows(asked, list(self.held)))
        return sorted(done[job_id] - killed for job_id, killed in self.held.items() if job_id in done)

    def _holders(self, ids: list[str]) -> dict[str, int | None]:
        pipe = self.direct.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(keys.job(job_id), "token")
        return {job_id: faults.holder(token) for job_id, token in zip(ids, pipe.execute(), strict=True)}


def run(trial: Trial) -> Result:
    kills = trial.pick(50, 4)
    with trial.stack(api_processes=1) as stack, stack.workers(WORKERS, 5):
        stack.rows(probes.SCHEMA)
        deaths = Deaths(stack, Direct(stack, stack.person().owner))
        with probes.declared():
            for _ in range(kills):
                deaths.one(trial.chance)
                time.sleep(BETWEEN)
        deadline = time.monotonic() + trial.pick(LAST_WITHIN, P99_WITHIN) * trial.slack
        while len(deaths.seconds()) < len(deaths.held) and time.monotonic() < deadline:
            time.sleep(0.2)
        took = deaths.seconds()
        effects = dict(stack.rows("SELECT job_id::text, count(*) FROM effects GROUP BY 1"))
    result = Result(f"{kills} workers killed with {len(deaths.held)} jobs in hand")
    result.want(len(deaths.held) >= kills // 2, "too few workers were killed with a job in hand to show anything")
    result.want(len(took) == len(deaths.held), f"not done again: {len(deaths.held) - len(took)} jobs")
    twice = [job_id for job_id in deaths.asked if effects.get(job_id, 0) > 1]
    result.want(not twice, f"duplicated: {len(twice)}, like {twice[:3]}")
    if len(took) > 1:
        p50, p99 = statistics.median(took), took[min(len(took) - 1, round(0.99 * len(took)))]
        result.figures += f"; done again p50 {p50:.1f} s, p99 {p99:.1f} s; duplicated {len(twice)}"
        result.want(p50 <= P50_WITHIN * trial.slack, f"p50 is {p50:.1f} s")
        result.want(p99 <= P99_WITHIN * trial.slack, f"p99 is {p99:.1f} s")
    return result


ROW = Row("recovery", "job done again p50 ≤ 8 s, p99 ≤ 20 s", run, (Control("not done again", "no_reaper"),))
