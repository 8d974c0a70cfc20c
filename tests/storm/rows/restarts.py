"""Restarts: Redis and PostgreSQL die and come back under load, again and again, and nobody lends a hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from tests.processes import until
from tests.storm import checker
from tests.storm.load import written
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.stack import Stack

FIRST_WITHIN = 5
GIVEN_UP = 30
FINAL_WITHIN = 60


def run(trial: Trial) -> Result:
    times = trial.pick(10, 1)
    with ExitStack() as running:
        stack = running.enter_context(trial.stack())
        for process in (stack.scheduler(), stack.workers(2)):
            running.enter_context(process)
        book = book_of(stack)
        took: dict[str, list[float]] = {"Redis": [], "PostgreSQL": []}
        with written(book, trial.chance, clients=6):
            until(lambda: len(book.acknowledged) > 100)
            for _ in range(times):
                took["Redis"].append(_until_first_effect(stack, stack.redis.kill, stack.redis.start))
                time.sleep(trial.chance.uniform(0.5, 1.5))
                stop = partial(stack.postgres.stop, "immediate")
                took["PostgreSQL"].append(_until_first_effect(stack, stop, stack.postgres.start))
                time.sleep(trial.chance.uniform(0.5, 1.5))
        final = checker.until_final(stack, book, trial.pick(FINAL_WITHIN, 20) * trial.slack) is not None
        verdict = checker.check(stack, book)
    worst = ", ".join(f"{name} {max(seconds):.1f} s" for name, seconds in took.items())
    result = Result(
        f"{times} x 2 restarts; first effect after the port was up, at worst: {worst}; {verdict.figures}", verdict.wrong
    )
    for name, seconds in took.items():
        late = [f"{one:.1f}" for one in seconds if one > FIRST_WITHIN * trial.slack]
        result.want(not late, f"first effect too late after {name}: {', '.join(late)} s")
    result.want(final, "not all final in time")
    return result


def _until_first_effect(stack: Stack, stop: Callable[[], object], start: Callable[[], object]) -> float:
    """Let a server die and come back; seconds from when it answers to the first effect that is committed then."""
    stop()
    start()
    began, up = time.monotonic(), time.time()
    asked = "SELECT count(*) FROM effect_log WHERE at > to_timestamp(%s)"
    while time.monotonic() - began < GIVEN_UP and not stack.rows(asked, up)[0][0]:
        time.sleep(0.02)
    return time.monotonic() - began


ROW = Row(
    "restarts",
    "first effect ≤ 5 s after the port is up, no manual action",
    run,
    (Control("first effect too late", "slow_to_return"), Control("lost", redis_options={"appendonly": "no"})),
)
