"""Sabotage: each takes one safeguard away from the process it is applied in, so that a test can be seen to need it.

It lives in tests only: `tests.storm.entry` applies it before a worker or the API starts. What is to be taken away has
to be there; otherwise the process does not start, and the control that wanted it fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
BY_NAME: dict[str, Callable[[], None]] = {}


def apply(names: str) -> None:
    """Apply those named, with commas between them. Raises KeyError for a name that is none."""
    for name in filter(None, names.split(",")):
        BY_NAME[name]()


def sabotage(function: Callable[[], None]) -> Callable[[], None]:
    BY_NAME[function.__name__] = function
    return function


@sabotage
def no_receipts() -> None:
    """Receipts are written, and nobody ever meets one: a second delivery takes effect a second time."""
    from sqlalchemy import text

    from workers import receipts

    record, forget = receipts.record, text("DELETE FROM receipts WHERE id = ANY(CAST(:ids AS uuid[]))")

    def record_anew(session: Any, done: Any, *more: Any) -> None:
        session.execute(forget, {"ids": [work.delivery.job_id for work, _ in done]})
        record(session, done, *more)

    _replace(receipts, "first_outcomes", lambda session, works: {})
    _replace(receipts, "record", record_anew)


@sabotage
def no_reaper() -> None:
    """Leases run out, and nobody puts their jobs back."""
    from workers.leases import Leases

    _replace(Leases, "reap", lambda self: 0)


@sabotage
def no_time_limits() -> None:
    """A transaction may stay open, and a statement wait, for as long as it likes."""
    from workers import worker

    writer = worker.writer
    _replace(worker, "writer", lambda url, **named: writer(url, **named | {"lease_seconds": 3600}))


@sabotage
def no_scope_locks() -> None:
    """Two workers may decide about one customer at the same time."""
    from models import order_store

    _replace(order_store, "LOCK_SCOPES", "SELECT $1")


@sabotage
def no_suspects() -> None:
    """Nobody counts whose workers died."""
    _in_lua("if tonumber(expired[at + 1]) > tonumber(known[2]) then suspect(key, token) end", "")


@sabotage
def no_backpressure() -> None:
    """Writes are taken however full the queue is."""
    os.environ |= {"MAX_QUEUE_DEPTH": "1000000000", "MAX_MEMORY_PERCENT": "99"}


@sabotage
def no_shedding() -> None:
    """A process of the API serves everybody who comes."""
    os.environ["MAX_IN_FLIGHT"] = "0"


@sabotage
def asks_forgotten() -> None:
    """A call comes again whose worker died while it asked for it, and nobody remembers that it was asked for."""
    from jobs.call_book import CallBook
    from models.call import Status

    opened = CallBook.open

    def forgetful(self: Any, *named: Any) -> Any:
        call = opened(self, *named)
        if call.status == Status.DIALING and call.sid is None:
            call.asked_at = None
        return call

    _replace(CallBook, "open", forgetful)


@sabotage
def lost_is_busy() -> None:
    """An answer that was lost is taken for one that says to ask again."""
    from jobs import calls
    from jobs.kernel.ports import Busy, Lost

    end = calls._without_a_call

    def hopeful(call_id: Any, asks: int, answer: Exception) -> Any:
        return end(call_id, asks, Busy() if isinstance(answer, Lost) else answer)

    _replace(calls, "_without_a_call", hopeful)


@sabotage
def carrier_asked_twice() -> None:
    """The client of the carrier asks again by itself where no answer came, as many do."""
    from jobs.kernel.ports import Lost
    from workers.twilio import Connections

    request = Connections.request

    def insistent(self: Any, *args: Any, **named: Any) -> Any:
        try:
            return request(self, *args, **named)
        except Lost:
            return request(self, *args, **named)

    _replace(Connections, "request", insistent)


@sabotage
def no_insisting() -> None:
    """Nobody asks, in the last moment before a call is asked for, whether it is still theirs to ask for."""
    from workers.outside import Outside

    _replace(Outside, "insist", lambda self: None)


@sabotage
def no_circuit() -> None:
    """Whoever comes is let through, however often the service has failed."""
    from contextlib import contextmanager

    from workers.gate import Gate, Leave

    @contextmanager
    def open_to_all(self: Any, *, turn: str | None = None) -> Any:
        yield Leave("", b"", probe=False, counted=False, wait=0)

    _replace(Gate, "enter", open_to_all)


@sabotage
def nothing_forgotten() -> None:
    """A worker keeps all that it has done."""
    from workers.executor import Executor

    run, kept = Executor.run, []

    def hoarding(self: Any, works: Any) -> Any:
        kept.extend([work, bytes(1024)] for work in works)
        return run(self, works)

    _replace(Executor, "run", hoarding)


@sabotage
def nothing_closed() -> None:
    """A worker opens a connection every few seconds, and leaves it open."""
    from socket import create_connection
    from time import monotonic
    from urllib.parse import urlsplit

    from workers.executor import Executor

    run, opened = Executor.run, []
    redis, began = urlsplit(os.environ["REDIS_URL"]), monotonic()

    def leaking(self: Any, works: Any) -> Any:
        if monotonic() - began > 5 * len(opened):
            opened.append(create_connection((redis.hostname, redis.port)))
        return run(self, works)

    _replace(Executor, "run", leaking)


@sabotage
def final_for_ever() -> None:
    """A job that has ended stays in Redis."""
    os.environ["FINAL_TTL_SECONDS"] = "1000000"


@sabotage
def hidden_retries() -> None:
    """The client of Redis asks again and again by itself, as it does by default."""
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    from jobs.kernel import broker

    options = broker.options

    def patient(**named: Any) -> dict[str, Any]:
        return options(**named) | {"retry": Retry(ConstantBackoff(1), 10), "retry_on_timeout": True}

    _replace(broker, "options", patient)


@sabotage
def slow_to_return() -> None:
    """A worker that missed a server sulks for ten seconds."""
    import time

    from workers.executor import Executor
    from workers.lease_worker import LeaseWorker
    from workers.settle import HandBack

    turn, run = LeaseWorker._turn, Executor.run

    def sulking_turn(self: Any) -> None:
        try:
            turn(self)
        except Exception:
            time.sleep(10)
            raise

    def sulking_run(self: Any, works: Any) -> Any:
        settlements = run(self, works)
        if any(isinstance(settlement.verdict, HandBack) for settlement in settlements):
            time.sleep(10)
        return settlements

    _replace(LeaseWorker, "_turn", sulking_turn)
    _replace(Executor, "run", sulking_run)


def _replace(owner: object, name: str, by: object) -> None:
    """Raises AttributeError where there is nothing of that name to take away."""
    getattr(owner, name)
    setattr(owner, name, by)


def _in_lua(old: str, new: str) -> None:
    """Change a line of the scripts. Raises LookupError where none of them has it."""
    from jobs.kernel import scripts

    if not any(old in path.read_text() for room in ("jobs", "workers") for path in (ROOT / room).rglob("*.lua")):
        raise LookupError(old)
    source = scripts.source
    _replace(scripts, "source", lambda path: source(path).replace(old, new))
