"""Circuit: the carrier takes no calls for a while, and is left in peace until it does."""

from __future__ import annotations

import time
from math import ceil

from local.carrier import Faults
from tests.processes import until
from tests.storm import call_checker
from tests.storm.book import Book
from tests.storm.phones import telephone
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.client import Job
from tests.system.stack import Stack
from tests.system.threads import by_threads

PROCESSES, THREADS = 2, 8
FAILURES = 3
PER_OPENING = 2
"""What is asked while a circuit opens once: by the probe, that changes nothing and then asks for the call."""

LONGEST = 8
"""Seconds for which a circuit is open at most, that first is for one."""

AWAY = {"refused": Faults(refuse=1), "limited": Faults(limit=1)}
ENDED_WITHIN = 60


def run(trial: Trial) -> Result:
    """The carrier does not see what is refused a connection: then it is counted how often calls were asked for."""
    calls, seconds = trial.pick(200, 30), trial.pick(30, 4)
    settings = {"circuit_failures": FAILURES, "circuit_open_seconds": 1, "lease_seconds": 3}
    result = Result("")
    with telephone(trial, **settings) as (stack, carrier), stack.scheduler(), stack.callers(PROCESSES, THREADS):
        for name, faults in AWAY.items():
            book = book_of(stack)
            before, opened = len(carrier.requests), stack.count("workers", "circuit_opened")
            carrier.faults = faults
            by_threads(4, book.ask, [book.call() for _ in range(calls)])
            jobs = _waited(stack, book, seconds)
            asked = max(len(carrier.requests) - before, _asks(stack, book))
            opened = stack.count("workers", "circuit_opened") - opened
            carrier.faults = Faults()
            took = call_checker.until_ended(stack, book, ENDED_WITHIN * trial.slack)
            _judge(result, name, jobs, asked, opened, seconds, took)
            verdict = call_checker.check(stack, book, carrier)
            times = call_checker.dialled(book, carrier)
            result.missed += verdict.wrong
            result.want(times == {1: calls}, f"dials of each call, and of how many: {dict(times)}")
    return result


def _waited(stack: Stack, book: Book, seconds: float) -> list[Job]:
    """How the jobs look after so many seconds."""
    until(lambda: stack.count("workers", "circuit_opened") > 0 or _asks(stack, book) > 0)
    time.sleep(seconds)
    return [book.user.job(write.job_id) for write in book.writes]


def _judge(
    result: Result, name: str, jobs: list[Job], asked: int, opened: int, seconds: float, took: float | None
) -> None:
    most = PROCESSES * THREADS + PER_OPENING * _openings(seconds)
    counted, over = max(job["attempts"] for job in jobs), [job for job in jobs if job["status"] == "succeeded"]
    ended = f"all ended {took:.0f} s after it came back" if took is not None else "not all ended in time"
    result.figures += (
        f"{name} for {seconds} s: {len(jobs)} calls wait, {asked} asked for, opened {opened} times; {ended}. "
    )
    result.want(asked <= most, f"asked too often while {name}: {asked} times, and not {most} at most")
    result.want(opened > 0, f"the circuit was never opened while {name}")
    result.want(counted <= 1, f"attempts were used up while {name}: {counted}")
    result.want(not over, f"{len(over)} calls succeeded while {name}")
    result.want(took is not None, ended)


def _openings(seconds: float) -> int:
    """How often a circuit opens in so many seconds, at most: for 1, 2, 4 and then 8 seconds, each a tenth less or more."""
    return 4 + ceil(seconds / (0.9 * LONGEST))


def _asks(stack: Stack, book: Book) -> int:
    """How often the calls of a book were asked for."""
    ((asks,),) = stack.rows("SELECT coalesce(sum(asks), 0) FROM calls WHERE owner_id = %s", str(book.user.owner))
    return int(asks)


ROW = Row(
    "circuit",
    "jobs wait without using up attempts; about one question for each opening; then each call is dialled once",
    run,
    (Control("asked too often", "no_circuit"),),
)
