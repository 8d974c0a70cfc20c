"""Carrier storm: the carrier misbehaves in every way it can, and workers are killed, while careful clients ask for calls."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import replace

from local.carrier import Carrier, Faults
from tests.processes import until
from tests.storm import call_checker, checker
from tests.storm.book import Book
from tests.storm.faults import Killer
from tests.storm.phones import NEVER, Caller, Looker, telephone
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.stack import Stack
from tests.system.threads import again_and_again

ROUGH = Faults(
    refuse=0.04,
    limit=0.04,
    lose=0.02,
    drop=0.04,
    error=0.03,
    hang=0.03,
    early=0.1,
    double=0.1,
    reorder=0.1,
    mute=0.5,
)
"""One request in five goes wrong, and the callbacks of most calls: where they come, they heal too much to show anything."""

ROUGHER = replace(ROUGH, drop=0.1, error=0.1)
"""So that of a few calls enough meet what they are to show."""

CLIENTS = 8
PROCESSES, THREADS = 4, 8
KILLED_EVERY = 2_000
"""Milliseconds: whoever has died leaves suspects, that others carry out alone, and is started again the later the more often."""

KILLED_UNTIL = 90
"""Of a hundred calls, those whose jobs have ended by then."""

STORM_WITHIN, ENDED_WITHIN = 600, 60


def run(trial: Trial) -> Result:
    number, processes = trial.pick(2_000, 100), trial.pick(PROCESSES, 2)
    with ExitStack() as storm:
        stack, carrier = storm.enter_context(telephone(trial, lease_seconds=3, circuit_failures=NEVER))
        carrier.faults = ROUGHER if trial.quick else ROUGH
        storm.enter_context(stack.scheduler())
        supervisor = storm.enter_context(stack.callers(processes, THREADS))
        book, killer = book_of(stack), Killer(stack, supervisor, trial.chance)
        began = time.monotonic()
        looker = Looker(book, random.Random(trial.chance.random()))
        _ask_under_fire(trial, stack, book, killer, looker, number)
        under_fire = time.monotonic() - began
        took = call_checker.until_ended(stack, book, ENDED_WITHIN * trial.slack)
        seconds = time.monotonic() - began
        verdict = call_checker.check(stack, book, carrier)
        verdict.illegal += looker.calls.wrong
        ambiguous, figures = call_checker.ambiguous(stack, book), _figures(stack, book, carrier)
        again = _in_hand(stack, book)
    result = Result(
        f"{verdict.figures}; {figures}; {ambiguous}; {len(killer.workers)} workers killed, {again} calls delivered again; "
        f"{looker.calls.looks:,} looks at calls; {under_fire:.0f} s under fire, all ended after {seconds:.0f} s",
        verdict.wrong,
    )
    result.want(took is not None, "not all ended in time")
    result.want(verdict.acknowledged >= number, f"not acknowledged: {number - verdict.acknowledged} calls")
    result.want(bool(again), "no worker was killed with a call in hand, so nothing is shown")
    return result


def _ask_under_fire(trial: Trial, stack: Stack, book: Book, killer: Killer, looker: Looker, number: int) -> None:
    pause = trial.pick(20, 300) / 1000
    with ExitStack() as fire:
        fire.enter_context(again_and_again(looker.look, 0.3))
        for _ in range(CLIENTS):
            caller = Caller(book, random.Random(trial.chance.random()))
            fire.enter_context(
                again_and_again(lambda one=caller: one.one() if len(book.writes) < number else None, pause)
            )
        fire.enter_context(again_and_again(killer.kill_worker, trial.pick(KILLED_EVERY, 1_000) / 1000))
        until(lambda: book.over >= number, STORM_WITHIN)
        until(lambda: len(checker.outcomes(stack, book)) >= trial.pick(KILLED_UNTIL, 50) * number / 100, STORM_WITHIN)


def _figures(stack: Stack, book: Book, carrier: Carrier) -> str:
    times = call_checker.dialled(book, carrier)
    ends = ", ".join(f"{count} {status}" for status, count in call_checker.ends(stack, book).items())
    return f"{sum(count * of for count, of in times.items()):,} dials, at most {max(times)} of a call; calls: {ends}"


def _in_hand(stack: Stack, book: Book) -> int:
    """How many calls were delivered again because their worker had died."""
    ((number,),) = stack.rows(
        "SELECT count(*) FROM receipts WHERE owner_id = %s AND attempts > 1", str(book.user.owner)
    )
    return int(number)


ROW = Row(
    "carrier storm",
    "≤ 1 dial of each request in the carrier's own ledger; what is ambiguous resolved or unknown; every class 0",
    run,
    (Control("duplicated", "lost_is_busy"), Control("duplicated", "carrier_asked_twice")),
)
