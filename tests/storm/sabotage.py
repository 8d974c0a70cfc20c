"""Sabotage: each takes one safeguard away from the process it is applied in, so that a test can be seen to need it.

It lives in tests only: `tests.storm.entry` applies it before a worker or the API starts. What is to be taken away has
to be there; otherwise the process does not start, and the control that wanted it fails. Those of calls are in
`tests.storm.call_sabotage`, those of deliveries in `tests.storm.event_sabotage`.
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

    take_away(receipts, "first_outcomes", lambda session, works: {})
    take_away(receipts, "record", record_anew)


@sabotage
def no_reaper() -> None:
    """Leases run out, and nobody puts their jobs back."""
    from workers.leases import Leases

    take_away(Leases, "reap", lambda self: 0)


@sabotage
def no_time_limits() -> None:
    """A transaction may stay open, and a statement wait, for as long as it likes."""
    from workers import worker

    writer = worker.writer
    take_away(worker, "writer", lambda url, **named: writer(url, **named | {"lease_seconds": 3600}))


@sabotage
def no_scope_locks() -> None:
    """Two workers may decide about one customer at the same time."""
    from models import order_store

    take_away(order_store, "LOCK_SCOPES", "SELECT $1")


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
def nothing_forgotten() -> None:
    """A worker keeps all that it has done."""
    from workers.executor import Executor

    run, kept = Executor.run, []

    def hoarding(self: Any, works: Any) -> Any:
        kept.extend([work, bytes(1024)] for work in works)
        return run(self, works)

    take_away(Executor, "run", hoarding)


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

    take_away(Executor, "run", leaking)


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

    take_away(broker, "options", patient)


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

    take_away(LeaseWorker, "_turn", sulking_turn)
    take_away(Executor, "run", sulking_run)


def take_away(owner: object, name: str, by: object) -> None:
    """Put something else in place of what has a name. Raises AttributeError where there is nothing of that name."""
    getattr(owner, name)
    setattr(owner, name, by)


def _in_lua(old: str, new: str) -> None:
    """Change a line of the scripts. Raises LookupError where none of them has it."""
    from jobs.kernel import scripts

    if not any(old in path.read_text() for room in ("jobs", "workers") for path in (ROOT / room).rglob("*.lua")):
        raise LookupError(old)
    source = scripts.source
    take_away(scripts, "source", lambda path: source(path).replace(old, new))
