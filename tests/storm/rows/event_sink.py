"""Event sink: it fails again and again, is away for a while, and takes what it then does not answer while workers are killed.
Reads of events go on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from math import ceil
from uuid import UUID

import requests

from jobs.kernel import keys
from jobs.kernel.submit import keyed_id
from tests.processes import until
from tests.sinks import SinkServer, away, flaky, well
from tests.storm import checker
from tests.storm.book import Book
from tests.storm.faults import Killer
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.stack import Stack
from tests.system.threads import again_and_again, by_threads

PROCESSES, THREADS = 2, 8
SETTINGS = {
    "circuit_failures": 3,
    "event_sink_timeout_seconds": 1,
    "event_sweep_seconds": 2,
    "lease_seconds": 3,
}
KILLED_UNTIL = 90
"""Of a hundred events, those that are delivered by then."""

ENDED_WITHIN = 180
ROWS = "SELECT id::text, delivery FROM events WHERE owner_id = %s"


class Lossy:
    """Every fourth event is taken, and its answer comes when nobody waits for it any more. `lost`: how many of them."""

    def __init__(self) -> None:
        self.lost = 0

    def __call__(self, number: int, key: str) -> int:
        if number % 4 == 3:
            self.lost += 1
            time.sleep(1.5)
        return 200


def run(trial: Trial) -> Result:
    result = Result("")
    with ExitStack() as running:
        sink = running.enter_context(SinkServer())
        stack = running.enter_context(trial.stack(api_processes=2, event_sink_url=sink.url, **SETTINGS))
        for process in (stack.workers(1), stack.scheduler()):
            running.enter_context(process)
        with stack.deliverers(PROCESSES, THREADS):
            _flaky(trial, stack, sink, result)
            _away(trial, stack, sink, result)
        _killed(trial, stack, sink, result)
    return result


def _flaky(trial: Trial, stack: Stack, sink: SinkServer, result: Result) -> None:
    book, sink.plan = book_of(stack), flaky
    with again_and_again(_reader(book), 0.1):
        took = _recorded(trial, stack, book, trial.pick(60, 15))
    asked = len(sink.seen)
    _judge(stack, sink, book, result, took, doubles=0)
    result.figures += f"flaky: {len(book.writes)} events by {asked} requests in {_seconds(took)}. "


def _away(trial: Trial, stack: Stack, sink: SinkServer, result: Result) -> None:
    """Nobody is let through but one, each time that the circuit has been open for its time."""
    book, sink.plan = book_of(stack), _after(0.1, away)
    before, seconds = len(sink.seen), trial.pick(20, 4)
    by_threads(8, book.ask, [book.event() for _ in range(trial.pick(2000, 100))])
    until(lambda: len(sink.seen) > before)
    began = time.monotonic()
    time.sleep(seconds)
    with again_and_again(_reader(book), 0.1):
        time.sleep(0.5)
    asked, lasted = len(sink.seen) - before, time.monotonic() - began + seconds
    most = PROCESSES * THREADS + ceil(lasted / 0.9) + 1
    result.want(asked <= most, f"asked too often while away: {asked} times, and not {most} at most")
    counted = _counted(stack, book)
    result.want(counted <= 2, f"attempts were used up while away: {counted}")
    sink.plan = well
    took = _delivered(stack, book, ENDED_WITHIN * trial.slack)
    _judge(stack, sink, book, result, took, doubles=0)
    result.figures += f"away: {asked} requests, then {len(book.writes):,} events in {_seconds(took)}. "


def _killed(trial: Trial, stack: Stack, sink: SinkServer, result: Result) -> None:
    book, lossy = book_of(stack), Lossy()
    sink.plan = lossy
    with stack.deliverers(PROCESSES, THREADS) as supervisor:
        killer = Killer(stack, supervisor, trial.chance)
        with again_and_again(_reader(book), 0.1), again_and_again(killer.kill_worker, trial.pick(20, 10) / 10):
            by_threads(8, book.ask, [book.event() for _ in range(trial.pick(200, 40))])
            enough = KILLED_UNTIL * len(book.writes) // 100
            until(lambda: _number(stack, book, "delivered") >= enough, ENDED_WITHIN * trial.slack)
        took = _delivered(stack, book, ENDED_WITHIN * trial.slack)
        _judge(stack, sink, book, result, took, doubles=lossy.lost + len(killer.workers) * THREADS)
    result.want(bool(killer.workers), "no worker was killed, so nothing is shown")
    result.want(bool(lossy.lost), "no answer was lost, so nothing is shown")
    result.figures += f"killed: {len(book.writes)} events, {lossy.lost} answers lost, {len(killer.workers)} workers killed, in {_seconds(took)}"


def _counted(stack: Stack, book: Book) -> int:
    """The most attempts that one delivery has used up, or is just using."""
    ids = [keyed_id(stack.settings.secret_key, UUID(write.job_id), "events.deliver") for write in book.acknowledged]
    found = stack.in_redis(lambda redis: [redis.hget(keys.job(job), "attempts") for job in ids])
    return max(int(attempts or 0) for attempts in found)


def _recorded(trial: Trial, stack: Stack, book: Book, number: int) -> float | None:
    by_threads(4, book.ask, [book.event() for _ in range(number)])
    return _delivered(stack, book, ENDED_WITHIN * trial.slack)


def _delivered(stack: Stack, book: Book, seconds: float) -> float | None:
    """Wait until every event is delivered; the seconds it took, or None where it took longer."""
    began = time.monotonic()
    while _number(stack, book, "delivered") < len(book.acknowledged):
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.1)
    return time.monotonic() - began


def _number(stack: Stack, book: Book, delivery: str) -> int:
    return sum(found == delivery for _, found in stack.rows(ROWS, str(book.user.owner)))


def _judge(stack: Stack, sink: SinkServer, book: Book, result: Result, took: float | None, *, doubles: int) -> None:
    """`doubles`: how many events may have been taken once more, under the same key."""
    result.want(took is not None, "not all delivered in time")
    kept, wanted = dict(stack.rows(ROWS, str(book.user.owner))), {write.job_id for write in book.acknowledged}
    result.want(len(wanted) == len(book.writes), f"not acknowledged: {len(book.writes) - len(wanted)} events")
    result.want(kept.keys() == wanted, f"recorded {len(kept)} events of {len(wanted)}")
    own = [seen for seen in sink.seen if seen.status == 200 and seen.body["user_id"] == str(book.user.owner)]
    keys = {seen.key for seen in own}
    strange, missing = len(keys - wanted), len(wanted - keys)
    result.want(
        not strange and not missing, f"{strange} keys the sink was told are of no event; {missing} events lack theirs"
    )
    again = len(own) - len(wanted)
    result.want(0 <= again <= doubles, f"taken once more: {again} times, and not {doubles} at most")
    result.missed += checker.unsettled(stack, book, "events", "deliveries") + book.illegal


def _reader(book: Book) -> Callable[[], None]:
    """Whoever reads events while the sink has its troubles."""

    def read() -> None:
        try:
            answer = book.user.get("/v1/events?limit=50", timeout=5)
        except requests.RequestException as error:
            book.wrong_answers.append(f"events: {error!r}")
            return
        if answer.status_code != 200:
            book.wrong_answers.append(f"events: {answer.status_code} {answer.text[:200]}")

    return read


def _after(seconds: float, plan: Callable[[int, str], int]) -> Callable[[int, str], int]:
    def late(number: int, key: str) -> int:
        time.sleep(seconds)
        return plan(number, key)

    return late


def _seconds(took: float | None) -> str:
    return f"{took:.0f} s" if took is not None else "too long"


ROW = Row(
    "event sink",
    "each event once by its key; about one request for each opening; once more at most for what was lost or killed; reads go on",
    run,
    (Control("asked too often", "no_circuit"), Control("the sink counts", "no_key")),
)
