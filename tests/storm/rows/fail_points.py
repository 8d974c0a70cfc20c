"""Fail points: a process dies, loses a reply or stalls at every labelled place on the road of a write."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from jobs.kernel.failpoints import KILL, LOSE, Point
from tests.storm import cases, checker
from tests.storm.book import Book, Writer
from tests.storm.cases import IN_API, OF_CALLS, Case, Found
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.stack import Stack
from tests.system.threads import again_and_again

LEASE_SECONDS = 2
LANES = 3
BATCHES = (1, 5, 50)
POINTS = tuple(point for point in Point if point not in OF_CALLS)
IN_WORKER = tuple(point for point in POINTS if point not in IN_API)
FINAL_WITHIN = 60


def cases_of(trial: Trial) -> list[Case]:
    """Every place with every fault, and with every seed; of a quick trial the most telling."""
    if not trial.quick:
        return cases.every(POINTS, trial, BATCHES)
    kills = (Point.RESERVE_ANSWERED, Point.COMMIT_ANSWERED)
    some = [(IN_API, LOSE), (IN_WORKER, LOSE), *(((point,), KILL) for point in kills)]
    return [Case.of(points, fault, 0, trial.chance, BATCHES) for points, fault in some]


def run(trial: Trial) -> Result:
    tried = cases.try_all(trial, cases_of(trial), trial.pick(LANES, 1), _lane)
    figures, wrong = cases.summary(tried)
    return Result(f"{figures}, {sum(count for *_, count in tried):,} acknowledged writes with one effect each", wrong)


@contextmanager
def _lane(trial: Trial) -> Iterator[Callable[[Case, random.Random], Found]]:
    with trial.stack(lease_seconds=LEASE_SECONDS, api_processes=2) as stack, stack.scheduler():
        yield lambda case, chance: _one(stack, case, chance)


def _one(stack: Stack, case: Case, chance: random.Random) -> Found:
    book = book_of(stack)
    cases.arm_api(stack, case)
    with stack.workers(1 + case.healthy, case.together, told=case.told(stack.folder)):
        wrong = _write_until_struck(stack, book, case, chance)
        if checker.until_final(stack, book, FINAL_WITHIN) is None:
            wrong.append("not all final in time")
        verdict = checker.check(stack, book)
    return wrong + verdict.wrong, verdict.acknowledged


def _write_until_struck(stack: Stack, book: Book, case: Case, chance: random.Random) -> list[str]:
    """Write until the fault has struck, and a little longer; what it never reached."""
    with ExitStack() as clients:
        for _ in range(case.clients):
            writer = Writer(book, random.Random(chance.random()))
            clients.enter_context(again_and_again(writer.one, 0.05))
        missed = cases.until_struck(case.latches(stack.folder))
        time.sleep(0.5)
    return missed


ROW = Row("fail points", "exactly one effect each", run, (Control("duplicated", "no_receipts"),))
