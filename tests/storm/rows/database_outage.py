"""Database outage: PostgreSQL is away for a minute, and writes are taken until the queue is full."""

from __future__ import annotations

import time
from contextlib import ExitStack

from jobs.kernel import keys
from jobs.kernel.errors import QueueFull
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
    refused = book.refused
    full = [refusal for refusal in refused if refusal.code == QueueFull.code]
    result = Result(
        f"away {seconds} s: taken at {arrival:.0f}/s up to a depth of {deepest:,} (cap {cap:,}), then "
        f"{len(full):,} answers 503; afterwards, from {first:.1f} s on, drained at {drained:.0f}/s, {drained / arrival:.1f} x arrival; "
        f"{verdict.figures}",
        verdict.wrong,
    )
    statuses = {refusal.status for refusal in refused}
    result.want(bool(full), "no 503 at the cap")
    result.want(statuses <= {503}, f"writes were answered {statuses}")
    result.want(cap / 2 <= deepest <= cap + IN_HAND, f"the queue was {deepest} deep, the cap is {cap}")
    result.want(drained >= 2 * arrival, f"drained at {drained:.0f}/s only, arrival {arrival:.0f}/s")
    result.want(final, "not all final in time")
    return result


def _while_away(stack: Stack, book: Book, seconds: float) -> tuple[float, int]:
    """Writes taken a second until the first was refused, and the greatest depth of the queue."""
    began, count = time.monotonic(), len(book.acknowledged)
    deepest, arrival = 0, 0.0
    while (gone := time.monotonic() - began) < seconds:
        deepest = max(deepest, stack.in_redis(lambda redis: redis.llen(keys.queue("orders"))))
        if not arrival and book.refused:
            arrival = (len(book.acknowledged) - count) / gone
        time.sleep(0.1)
    return arrival or (len(book.acknowledged) - count) / seconds, deepest


def _drained(stack: Stack, job_ids: list[str], since: float) -> tuple[float, float]:
    """Of those that waited while it was away: when the first took effect, in seconds from a time on the wall clock,
    and how many did a second from then on, while writes kept coming."""
    asked = """
        SELECT count(*), extract(epoch FROM min(at))::float8, extract(epoch FROM max(at))::float8
        FROM effect_log WHERE row_id = ANY(%s::uuid[]) AND at > to_timestamp(%s)
    """
    ((count, first, last),) = stack.rows(asked, job_ids, since)
    return (first - since, count / max(last - first, 0.05)) if count else (0.0, 0.0)


ROW = Row(
    "database outage",
    "202 up to the cap, then 503; then drained at ≥ 2 x arrival",
    run,
    (Control("no 503 at the cap", "no_backpressure"),),
)
