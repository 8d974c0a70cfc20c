"""Full broker: Redis is filled to its last byte under load, and emptied again by the workers alone."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing

from redis.exceptions import ResponseError

from jobs.kernel import broker
from local.processes import wait_until
from tests.processes import until
from tests.storm import checker
from tests.storm.load import written
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.stack import Stack

ROOM = 6 * 1024 * 1024
"""Bytes that Redis may use beyond what it uses when it is empty."""

BALLAST = "ballast"
REFUSED_WITHIN = 60
FULL_SECONDS = 2
"""How long it stays full, so that what is taken meanwhile shows."""

BACK_WITHIN = 30
FINAL_TTL_SECONDS = 3
"""How long final jobs stay: by default a quarter of an hour, for which nobody wants to wait here."""


def run(trial: Trial) -> Result:
    with trial.stack(final_ttl_seconds=FINAL_TTL_SECONDS) as stack, ExitStack() as running:
        stack.in_redis(
            lambda redis: redis.config_set(
                "maxmemory", redis.info("memory")["used_memory"] + trial.pick(ROOM, ROOM // 2)
            )
        )
        book = book_of(stack)
        with written(book, trial.chance, 8, 0.0, plain=True, patience=trial.pick(90, 15) * trial.slack):
            until(lambda: bool(book.refused), REFUSED_WITHIN)
            taken = len(book.acknowledged)
            ballast = _fill(stack)
            time.sleep(FULL_SECONDS)
            while_full = len(book.acknowledged) - taken
            began = time.monotonic()
            running.enter_context(stack.workers(2))
            back = wait_until(
                lambda: len(book.acknowledged) > taken + while_full + 50,
                within=trial.pick(BACK_WITHIN, 15) * trial.slack,
            )
            took = time.monotonic() - began
        final = checker.until_final(stack, book, trial.pick(60, 20) * trial.slack) is not None
        verdict = checker.check(stack, book)
    statuses = {refusal.status for refusal in book.refused}
    slowest = max(refusal.seconds for refusal in book.refused)
    result = Result(
        f"{taken:,} jobs filled it to 80 %, {ballast:,} bytes of somebody else's to the last; then {len(book.refused)} answers "
        f"{sorted(statuses)}, the slowest in {slowest:.2f} s; writes were taken again {took:.1f} s after the workers came; "
        f"{verdict.figures}",
        verdict.wrong,
    )
    result.want(statuses <= {429, 503}, f"writes were answered {statuses}")
    result.want(while_full <= 8, f"{while_full} writes were taken while it was full")
    result.want(back, "no write was taken again")
    result.want(final, "not all final in time")
    return result


def _fill(stack: Stack) -> int:
    """Write until Redis refuses, or has dropped something to make room; the bytes that took."""
    written_bytes = 0
    with closing(broker.connect(stack.settings.redis_url, timeout=5)) as redis:
        for size in (64 * 1024, 1024, 64):
            try:
                for number in range(ROOM // size):
                    redis.set(f"{BALLAST}:{size}:{number}", b"x" * size)
                    written_bytes += size
            except ResponseError:
                continue
            break  # it never refused: it has dropped something else
    return written_bytes


ROW = Row(
    "full broker",
    "writes 503/429; workers drain it; normal service returns by itself",
    run,
    (Control("lost", redis_options={"maxmemory-policy": "allkeys-random"}),),
)
