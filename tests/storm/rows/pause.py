"""Pause: a worker is stopped in the middle of a transaction, with locks in hand, and goes on long after."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from subprocess import Popen

from jobs.kernel import broker, keys
from jobs.kernel.failpoints import STALL, Point
from tests.processes import until
from tests.storm import checker
from tests.storm.faults import holder, process_of, started_workers
from tests.storm.load import written
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.stack import Stack, children_of

STALL_SECONDS = 1
"""The worker is stopped while it stalls there, and goes on from there."""

DONE_AGAIN_WITHIN = 20
AWAKE_SECONDS = 6
FINAL_WITHIN = 60


def run(trial: Trial) -> Result:
    seconds, done_within = trial.pick(60, 14), trial.pick(DONE_AGAIN_WITHIN, 10)
    latch = trial.folder / "latch"
    told = {"STORM_PLAN": f"{Point.RECEIPT_WRITTEN}={STALL}@{latch}", "STORM_STALL": str(STALL_SECONDS)}
    with trial.stack(lease_seconds=trial.pick(6, 3)) as stack, ExitStack() as running:
        running.enter_context(stack.scheduler())
        armed = running.enter_context(stack.workers(1, 20, told=told))
        running.enter_context(stack.workers(1, 20))
        book = book_of(stack)
        with written(book, trial.chance, clients=6, pause=0.005):
            until(latch.exists, 60)
            (paused,) = [child.pid for child in children_of(armed) if child.pid in started_workers(stack)]
            os.kill(paused, signal.SIGSTOP)
            stopped, wall = time.monotonic(), time.time()
            try:
                held = _held(stack, paused)
                first = _first_effect(stack, wall)
                again = _until_done_again(stack, held, done_within * trial.slack)
                time.sleep(max(0, stopped + seconds - time.monotonic()))
            finally:
                os.kill(paused, signal.SIGCONT)
            woken = datetime.now(UTC)
            time.sleep(AWAKE_SECONDS)
            lives = paused in {child.pid for child in children_of(armed)}
            later = _jobs_told_by(stack, armed, woken)
        final = checker.until_final(stack, book, FINAL_WITHIN * trial.slack) is not None
        verdict = checker.check(stack, book)
    lease = stack.settings.lease_seconds
    fate = "went on" if lives else "ended, as its time was up, and was replaced"
    result = Result(
        f"stopped {seconds} s with {len(held)} jobs in hand: the next effect of another after {first:.1f} s (lease {lease} s), "
        f"its own jobs done again after {f'{again:.1f} s' if again else 'no end'}; it {fate}, {later} jobs more; "
        f"{verdict.figures}",
        verdict.wrong,
    )
    result.want(bool(held), "it held no job, so nothing is shown")
    result.want(first <= lease * trial.slack, f"others went on after {first:.1f} s only")
    result.want(again is not None, f"its jobs were not done again in {done_within} s")
    result.want(later > 0, "neither it nor another in its place did anything more")
    result.want(final, "not all final in time")
    return result


def _held(stack: Stack, pid: int) -> list[str]:
    """The jobs leased to the worker of a process."""
    with closing(broker.connect(stack.settings.redis_url, timeout=5)) as redis:
        leased = [member.decode() for member in redis.zrange(keys.leases("orders"), 0, -1)]
        return [job_id for job_id in leased if holder(redis.hget(keys.job(job_id), "token")) == pid]


def _first_effect(stack: Stack, since: float) -> float:
    """Seconds from a time on the wall clock to the first effect after it; a minute, where none comes."""
    asked, began = "SELECT count(*) FROM effect_log WHERE at > to_timestamp(%s)", time.time()
    while not stack.rows(asked, since)[0][0] and time.time() - began < 60:
        time.sleep(0.02)
    return time.time() - since


def _until_done_again(stack: Stack, job_ids: list[str], patience: float) -> float | None:
    """Seconds until all of these jobs have an outcome; None where that takes longer."""
    began = time.monotonic()
    while time.monotonic() - began < patience:
        ((done,),) = stack.rows("SELECT count(*) FROM receipts WHERE id = ANY(%s::uuid[])", job_ids)
        if done == len(job_ids):
            return time.monotonic() - began
        time.sleep(0.05)
    return None


def _jobs_told_by(stack: Stack, supervisor: Popen[bytes], since: datetime) -> int:
    """How many jobs the workers that a supervisor has now have told the end of since then."""
    alive = {child.pid for child in children_of(supervisor)}
    told = [line for line in stack.lines("workers") if line["event"] == "job" and process_of(line["worker"]) in alive]
    return sum(datetime.fromisoformat(line["timestamp"]) > since for line in told)


ROW = Row(
    "pause",
    "others go on within the lease; 0 duplicated; its late commit is fenced or a no-op",
    run,
    (Control("not done again", "no_time_limits"),),
)
