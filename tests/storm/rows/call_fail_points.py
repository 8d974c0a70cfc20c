"""Call fail points: a process dies, loses a reply or is stopped at every labelled place on the road of a call."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from subprocess import Popen

from jobs.kernel.failpoints import KILL, LOSE, STALL, Point
from local.carrier import Carrier, Faults
from tests.storm import call_checker, cases
from tests.storm.book import Book
from tests.storm.cases import IN_API, Case, Found
from tests.storm.phones import NEVER, Caller, telephone
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.stack import Stack, children_of
from tests.system.threads import again_and_again

SOONER = {"lease_seconds": 2, "call_settle_seconds": 1, "call_silent_seconds": 1}
LANES = 2
THREADS = (1, 4, 16)
IN_WORKER = tuple(point for point in Point if point not in IN_API)
ENDED_WITHIN = 60
AWAKE_SECONDS = 1.5
WITHOUT_CALLBACKS = Faults(mute=1)
"""Where they come, they heal what others should."""


def cases_of(trial: Trial) -> list[Case]:
    """Every place with every fault, and with every seed; of a quick trial the most telling."""
    if not trial.quick:
        return cases.every(tuple(Point), trial, THREADS)
    some = [((Point.CALL_BEGINS,), STALL), ((Point.CALL_ANSWERED,), KILL), (IN_WORKER, LOSE)]
    return [Case.of(points, fault, 0, trial.chance, THREADS) for points, fault in some]


def run(trial: Trial) -> Result:
    tried = cases.try_all(trial, cases_of(trial), LANES, _lane)
    figures, wrong = cases.summary(tried)
    calls = sum(count for *_, count in tried)
    return Result(f"{figures}, {calls:,} acknowledged calls dialled once at most, and each told as it ended", wrong)


@contextmanager
def _lane(trial: Trial) -> Iterator[Callable[[Case, random.Random], Found]]:
    with telephone(trial, **SOONER, circuit_failures=NEVER) as (stack, carrier):
        yield partial(_one, stack, carrier)


def _one(stack: Stack, carrier: Carrier, case: Case, chance: random.Random) -> Found:
    """The scheduler begins when the fault has struck: so what is struck is a call, and not what it sends."""
    book = book_of(stack)
    carrier.faults = WITHOUT_CALLBACKS if case.number == 0 else Faults()
    cases.arm_api(stack, case)
    with ExitStack() as running:
        armed = running.enter_context(stack.callers(1, case.together, told=case.told(stack.folder)))
        if case.healthy and not _stops(case):
            running.enter_context(stack.callers(1, case.together))
        wrong = _ask_until_struck(stack, book, case, chance)
        if _stops(case):
            wrong += _stop(stack, book, armed, case)
        running.enter_context(stack.scheduler())
        if call_checker.until_ended(stack, book, ENDED_WITHIN) is None:
            wrong.append("not all ended in time")
        verdict = call_checker.check(stack, book, carrier)
    return wrong + verdict.wrong, verdict.acknowledged


def _stops(case: Case) -> bool:
    """Whether the process that is struck is stopped as a whole, so that its leases run out."""
    return case.fault == STALL and not case.in_api


def _stop(stack: Stack, book: Book, armed: Popen[bytes], case: Case) -> list[str]:
    """Stop the worker that stalls until others have brought all calls to an end, and let it go on with what it was at."""
    stopped = [child.pid for child in children_of(armed)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with stack.callers(1, case.together), stack.scheduler():
            ended = call_checker.until_ended(stack, book, ENDED_WITHIN) is not None
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    time.sleep(AWAKE_SECONDS)
    return [] if ended else ["others did not go on"]


def _ask_until_struck(stack: Stack, book: Book, case: Case, chance: random.Random) -> list[str]:
    """Ask for calls until the fault has struck; what it never reached."""
    with ExitStack() as clients:
        for _ in range(case.clients):
            caller = Caller(book, random.Random(chance.random()))
            clients.enter_context(again_and_again(caller.one, 0.3))
        return cases.until_struck(case.latches(stack.folder))


ROW = Row(
    "call fail points",
    "at most one dial each; resolved, or unknown",
    run,
    (Control("duplicated", "asks_forgotten"), Control("after that", "no_insisting")),
)
