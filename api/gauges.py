"""Gauges: how everything stands at the moment in which it is asked for, whoever asks (docs/how-to/monitor.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from api.health import DURABLE, SCHEDULER_LOCK
from api.openapi import VERSION
from jobs.kernel import broker, keys
from jobs.kernel.meters import known
from jobs.kernel.queues import QueueView
from models.session import DATABASE_ERRORS, Sessions

if TYPE_CHECKING:
    from api.services import Services

CIRCUIT_STATES = ("closed", "open", "half_open")

KEPT = 10.0
"""Seconds for which the dead letters that PostgreSQL has counted are told again: there may be many."""

MOST_DEAD = 100_000
"""Dead letters that are counted at most: it is all the same by then."""


@dataclass(frozen=True, eq=False, slots=True)
class Gauge:
    """What is neither counted nor measured, but looked at."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """What a gauge shows, for values of its labels."""

    gauge: Gauge
    value: float
    labels: tuple[str, ...] = ()


INFO = Gauge("millrace_info", "The version that answers", ("version",))
DEPTH = Gauge("millrace_queue_depth", "Jobs that wait to be taken", ("queue", "priority"))
AGE = Gauge(
    "millrace_queue_oldest_age_seconds",
    "For how long the next to be taken has waited, in the lane where that is longest; 0 where nothing waits",
    ("queue",),
)
LEASES = Gauge("millrace_queue_leases", "Jobs that workers have in hand", ("queue",))
PAUSED = Gauge("millrace_queue_paused", "Whether nothing is taken, because somebody has asked for that", ("queue",))
WORKERS = Gauge("millrace_workers", "Worker processes that are alive", ("queue",))
SCHEDULED = Gauge("millrace_scheduled_jobs", "Jobs that wait for a time")
DUE = Gauge("millrace_scheduled_jobs_due", "Jobs whose time has come, and that no scheduler has queued yet")
SCHEDULER = Gauge("millrace_scheduler_up", "Whether a scheduler acts")
CIRCUIT = Gauge("millrace_circuit_state", "1 for the state that a circuit is in", ("circuit", "state"))
FAILURES = Gauge("millrace_circuit_failures", "Failures of a service that still count", ("circuit",))
DEAD = Gauge("millrace_dead_letters", "Failed jobs that nobody has run again or discarded", ("kind", "queue"))
REDIS = Gauge("millrace_redis_up", "Whether Redis answers")
MEMORY = Gauge("millrace_redis_memory_used_bytes", "Memory that Redis uses")
MOST_MEMORY = Gauge("millrace_redis_memory_max_bytes", "Memory that Redis may use; 0 where there is no bound")
SAFE = Gauge("millrace_redis_durable", "Whether Redis keeps what it has acknowledged; not shown where it does not tell")
DATABASE = Gauge("millrace_database_up", "Whether PostgreSQL answers")

GAUGES = (
    *(INFO, DEPTH, AGE, LEASES, PAUSED, WORKERS, SCHEDULED, DUE, SCHEDULER, CIRCUIT, FAILURES),
    *(DEAD, REDIS, MEMORY, MOST_MEMORY, SAFE, DATABASE),
)


def in_redis(own: Services) -> tuple[list[Sample], Mapping[bytes, bytes] | None]:
    """How what Redis knows stands, and the fields of `keys.METERS`; None for these where it does not answer."""
    asked = own.redis.pipeline(transaction=False)
    asked.hgetall(keys.METERS)
    asked.zcount(keys.SCHEDULED, "-inf", time())
    asked.exists(SCHEDULER_LOCK)
    asked.info("memory")
    asked.config_get("append*")
    try:
        overview, circuits = own.queues.view(), own.circuits.view()
        *told, config = asked.execute(raise_on_error=False)
        for refused in told:
            if isinstance(refused, Exception):
                raise refused
    except (*broker.LOST, broker.ResponseError):
        return [Sample(REDIS, 0)], None
    meters, due, scheduling, memory = told
    found = [Sample(REDIS, 1), Sample(SCHEDULED, overview.scheduled), Sample(DUE, due), Sample(SCHEDULER, scheduling)]
    found += (sample for queue in overview.queues for sample in _of_queue(queue))
    return [*found, *_of_circuits(circuits), *_of_store(memory, config)], meters


class InDatabase:
    """What PostgreSQL knows."""

    def __init__(self, readers: Sessions) -> None:
        self._engine = readers.kw["bind"]
        self._known: list[Sample] = []
        self._until = 0.0

    def look(self) -> list[Sample]:
        """How it stands, or stood some seconds ago."""
        if monotonic() >= self._until:
            self._known = [Sample(DATABASE, 0)]
            try:
                with self._engine.connect() as connection:
                    connection.exec_driver_sql("SELECT 1")
                    self._known = [Sample(DATABASE, 1)]
                    self._known += _dead(connection.execute(DEAD_LETTERS).all())
            except DATABASE_ERRORS:
                return self._known
            self._until = monotonic() + KEPT
        return self._known


DEAD_LETTERS = text(f"""
SELECT kind, count(*)
FROM (SELECT kind FROM receipts WHERE state = 'failed' AND discarded_at IS NULL LIMIT {MOST_DEAD}) AS dead
GROUP BY kind
""")
"""By the index of dead letters, `ix_receipts_dead`."""


def about() -> Sample:
    """What is known without asking anybody."""
    return Sample(INFO, 1, (VERSION,))


def _dead(rows: Any) -> Iterator[Sample]:
    """Of each kind, and all that are not known here together."""
    counts: dict[tuple[str, str], int] = {}
    for kind, count in rows:
        counts[known(kind)] = counts.get(known(kind), 0) + count
    return (Sample(DEAD, count, labels) for labels, count in counts.items())


def _of_queue(queue: QueueView) -> Iterator[Sample]:
    for priority, depth in queue.depth_by_priority.items():
        yield Sample(DEPTH, depth, (queue.name, priority))
    for gauge, value in (
        (AGE, queue.oldest_age_seconds or 0),
        (LEASES, queue.running),
        (PAUSED, queue.paused),
        (WORKERS, queue.workers),
    ):
        yield Sample(gauge, value, (queue.name,))


def _of_circuits(circuits: Mapping[str, Mapping[str, Any]]) -> Iterator[Sample]:
    for name, circuit in circuits.items():
        yield Sample(FAILURES, circuit["failures"], (name,))
        for state in CIRCUIT_STATES:
            yield Sample(CIRCUIT, circuit["state"] == state, (name, state))


def _of_store(memory: Any, config: Any) -> Iterator[Sample]:
    yield Sample(MEMORY, memory["used_memory"])
    yield Sample(MOST_MEMORY, memory["maxmemory"])
    if not isinstance(config, Exception):
        yield Sample(SAFE, all(config.get(name) == needed for name, needed in DURABLE.items()))
