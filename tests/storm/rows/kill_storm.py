"""Kill storm: everything dies, again and again, while careful clients write."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

import requests

from tests.processes import until
from tests.storm import checker
from tests.storm.book import Book, Writer
from tests.storm.faults import Killer
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.sightings import Sightings
from tests.system.stack import Stack
from tests.system.threads import again_and_again

CLIENTS = 16
FINAL_WITHIN = 60
COMMIT_SECONDS = 0.02


def run(trial: Trial) -> Result:
    writes = trial.pick(10_000, 1_500)
    with ExitStack() as storm:
        stack = storm.enter_context(trial.stack())
        storm.enter_context(stack.slow_commits(COMMIT_SECONDS))
        storm.enter_context(stack.scheduler())
        supervisor = storm.enter_context(stack.workers(trial.pick(4, 3)))
        book, killer = book_of(stack), Killer(stack, supervisor, trial.chance)
        _write_under_fire(trial, stack, book, killer, writes)
        took = checker.until_final(stack, book, FINAL_WITHIN * trial.slack)
        since = time.monotonic() - killer.last
        verdict = checker.check(stack, book)
        again = sum(line["attempt"] > 1 for line in stack.lines("workers") if line["event"] == "job")
    final = f"all final {since:.0f} s after the last fault" if took is not None else "not all final in time"
    result = Result(
        f"{verdict.figures}; {len(killer.workers)} workers and {len(killer.api)} API processes killed, Redis and "
        f"PostgreSQL once each; {again} jobs delivered again; {final}",
        verdict.wrong,
    )
    result.want(took is not None, final)
    result.want(verdict.acknowledged >= writes, f"not acknowledged: {len(book.writes) - verdict.acknowledged} writes")
    result.want(bool(again), "no worker was killed with a job in hand, so nothing is shown")
    return result


def _write_under_fire(trial: Trial, stack: Stack, book: Book, killer: Killer, writes: int) -> None:
    def looker(chance: random.Random) -> None:
        look(book, sightings, chance)

    sightings = book.observer()
    with ExitStack() as fire:
        fire.enter_context(again_and_again(lambda: looker(trial.chance), 0.2))
        for _ in range(CLIENTS):
            writer = Writer(book, random.Random(trial.chance.random()))
            fire.enter_context(
                again_and_again(lambda one=writer: one.one() if len(book.writes) < writes else None, 0.01)
            )
        fire.enter_context(again_and_again(killer.kill_worker, trial.pick(500, 1000) / 1000))
        fire.enter_context(again_and_again(killer.kill_api, 5))
        until(lambda: book.over >= 0.3 * writes, 300)
        stack.redis.kill()
        stack.redis.start()
        until(lambda: book.over >= 0.6 * writes, 300)
        stack.postgres.stop("immediate")
        stack.postgres.start()
        killer.last = time.monotonic()
        until(lambda: book.over >= writes, 300)


def look(book: Book, sightings: Sightings, chance: random.Random) -> None:
    """One look at a few jobs and at the newest of the list."""
    recent = book.acknowledged[-800:]
    try:
        for write in chance.sample(recent, min(5, len(recent))):
            answer = book.user.get(f"/v1/jobs/{write.job_id}", timeout=10)
            if answer.status_code == 200:
                sightings.see(answer.json())
            elif answer.status_code != 503:
                book.wrong_answers.append(f"job {write.job_id}: {answer.status_code} {answer.text[:200]}")
        answer = book.user.get("/v1/jobs?limit=100", timeout=10)
        if answer.status_code == 200:
            for job in answer.json()["data"]:
                sightings.see(job)
    except requests.RequestException:
        return


ROW = Row(
    "kill storm",
    "lost, duplicated, unexpected, wrong status, illegal 0; all final ≤ 60 s after the last fault",
    run,
    (Control("duplicated", "no_receipts"),),
)
