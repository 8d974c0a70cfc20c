"""Database outage: PostgreSQL is away for a minute, and writes are taken until the queue is full."""

from __future__ import annotations

import time
from contextlib import ExitStack

from jobs.kernel import keys
from tests.processes import until
from tests.storm import checker
from tests.storm.book import Book
from tests.storm.load import written
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.stack import Stack

CLIENTS = 8
WORKERS, BATCH = 2, 200
IN_HAND = 2 * WORKERS * BATCH
"""Jobs that workers may hold, one batch and the next, while others are taken in their place, and then hand back."""

DRAINED_WITHIN = 60


def run(trial: Trial) -> Result:
    seconds, cap = trial.pick(60, 6), trial.pick(5_000, 500)
    with trial.stack(max_queue_depth=cap) as stack, ExitStack() as running:
        running.enter_context(stack.workers(WORKERS, BATCH))
        book = book_of(stack)
        with written(book, trial.chance, CLIENTS, 0.0, plain=True):
            until(lambda: len(book.acknowledged) > 50)
            stack.postgres.stop("immediate")
            arrival, deepest = _while_away(stack, book, seconds)
            waiting = [write.job_id for write in book.acknowledged]
            stack.postgres.start()
            up = time.time()
            served = len(book.acknowledged)
            until(lambda: len(book.acknowledged) > served + 20, 30)
        final = checker.until_final(stack, book, DRAINED_WITHIN * trial.slack) is not None
        first, drained = _drained(stack, waiting, up)
        verdict = checker.check(stack, book)
    refused = [status for write in book.writes for status, _ in write.refused]
    result = Result(
        f"away {seconds} s: taken at {arrival:.0f}/s up to a depth of {deepest:,} (cap {cap:,}), then "
        f"{refused.count(503)} answers 503; afterwards, from {first:.1f} s on, drained at {drained:.0f}/s, {drained / arrival:.1f} x arrival; "
        f"{verdict.figures}",
        verdict.wrong,
    )
    result.want(bool(refused), "no 503 at the cap")
    result.want(set(refused) <= {503}, f"writes were answered {set(refused)}")
    result.want(cap / 2 <= deepest <= cap + IN_HAND, f"the queue was {deepest} deep, the cap is {cap}")
