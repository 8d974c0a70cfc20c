"""Poison: jobs that kill their workers, cannot be read, ask for what there is not, or are far too large."""

from __future__ import annotations

import time
from contextlib import ExitStack

from jobs.kernel import keys
from jobs.kernel.envelope import dump
from tests import probes
from tests.processes import until
from tests.storm import checker
from tests.storm.book import Outcome
from tests.storm.load import Direct, written
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.client import order
from tests.system.stack import Stack, children_of

WORKERS = 3
QUEUE = "default"
MEBIBYTE = 1024 * 1024
DEAD_WITHIN = 60
LEASE_SECONDS = 3
MOST_DEATHS = 8
"""Three with the job alone; before that its batch, of 20 at most, is halved until it is."""


def run(trial: Trial) -> Result:
    with ExitStack() as running:
        stack = running.enter_context(trial.stack(lease_seconds=LEASE_SECONDS))
        running.enter_context(stack.scheduler())
        supervisor = running.enter_context(stack.workers(WORKERS, 20))
        stack.rows(probes.SCHEMA)
        book = book_of(stack)
        began = time.monotonic()
        with written(book, trial.chance, clients=4):
            too_large = book.user.post(order("c", padding="x" * MEBIBYTE)).status_code
            expected = _poison(Direct(stack, stack.person().owner))
            found = _until_dead(stack, expected, trial.pick(DEAD_WITHIN, 30) * trial.slack)
            took = time.monotonic() - began
            served = len(book.acknowledged)
            until(lambda: len(book.acknowledged) > served + 50, 30)
        final = checker.until_final(stack, book, trial.pick(DEAD_WITHIN, 20) * trial.slack) is not None
        until(lambda: len(children_of(supervisor)) == WORKERS, 30)
        alive = len(children_of(supervisor))
        deaths = stack.count("workers", "worker_process_ended")
        verdict = checker.check(stack, book)
    dead = [job_id for job_id, (state, _) in expected.items() if state == "failed"]
    result = Result(
        f"{sum(found.get(job_id) == expected[job_id] for job_id in dead)} of {len(dead)} poisoned jobs are dead letters, "
        f"for the right reason, {took:.0f} s and {deaths} dead workers later; a job of 1 MiB was done, a request of 1 MiB "
        f"answered {too_large}; meanwhile {verdict.figures}; {alive} of {WORKERS} workers live",
        verdict.wrong,
    )
    for job_id, outcome in expected.items():
        result.want(found.get(job_id) == outcome, f"not a dead letter: {job_id} is {found.get(job_id)}, not {outcome}")
    result.want(too_large == 413, f"a request of 1 MiB was answered {too_large}")
    result.want(final, "not all of the others final in time")
    result.want(deaths <= MOST_DEATHS, f"{deaths} workers died of one job")
    return result


def _poison(direct: Direct) -> dict[str, Outcome]:
    """Put poison on a queue, all of it at once; what each job has to come to."""
    direct.redis.sadd(keys.PAUSED, QUEUE)
    with probes.declared():
        unreadable, other_type, unknown, foreign, crashing = (
            direct.submit("test.probe", do="segfault") for _ in range(5)
        )
        large = direct.submit("test.probe", do="x" * MEBIBYTE)
    direct.redis.hset(keys.job(unreadable), "data", b"\x80\x04\x95 not JSON")
    direct.redis.delete(keys.job(other_type))
    direct.redis.rpush(keys.job(other_type), "not a hash")
    direct.redis.hset(keys.job(unknown), "data", dump({"kind": "no.such_kind", "body": {}}))
    direct.redis.hset(keys.job(foreign), "data", b'["os.system", null, ["kill -9 $PPID"], {}]')
    direct.redis.srem(keys.PAUSED, QUEUE)
    return {
        crashing: ("failed", "worker_crashed"),
        unreadable: ("failed", "job_unreadable"),
        other_type: ("failed", "job_unreadable"),
        unknown: ("failed", "kind_unknown"),
        foreign: ("failed", "job_foreign"),
        large: ("succeeded", None),
    }


def _until_dead(stack: Stack, expected: dict[str, Outcome], patience: float) -> dict[str, Outcome]:
    """The outcomes of these jobs, as soon as all have one, or when patience ends."""
    asked = "SELECT id::text, state, error->>'code' FROM receipts WHERE id = ANY(%s::uuid[])"
    deadline = time.monotonic() + patience
    while True:
        found = {name: (state, code) for name, state, code in stack.rows(asked, list(expected))}
        if len(found) == len(expected) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


ROW = Row(
    "poison",
    "dead letter after 3 crashes; others go on; fleet alive",
    run,
    (Control("not a dead letter", "no_suspects"),),
)
