"""Gauges: how everything stands at the moment in which it is asked for, whoever asks (docs/how-to/monitor.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from redis import Redis
from sqlalchemy import text

from api.health import ALIVE_WITHIN, DURABLE, moment
from api.openapi import VERSION
from jobs.kernel import broker, keys
from jobs.kernel.circuits import Circuits
from jobs.kernel.meters import known
from jobs.kernel.policy import QUEUES, Priority
from jobs.kernel.record import parsed
from jobs.kernel.scripts import script
from jobs.kernel.times import from_micros
from models.session import DATABASE_ERRORS, Sessions

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
    "For how long the next to be taken has waited; 0 where nothing waits, or that was noted nowhere",
    ("queue", "priority"),
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


class InRedis:
    """What Redis knows: how jobs stand, and what was counted of all processes together."""

    def __init__(self, redis: Redis, circuits: Circuits) -> None:
        self._redis = redis
        self._circuits = circuits
        self._read = script(redis, Path(__file__).with_name("gauges.lua"))

    def look(self) -> tuple[list[Sample], Mapping[bytes, bytes] | None]:
        """How it stands, and the fields of `keys.METERS`; None for these where Redis does not answer."""
        try:
            jobs = list(_of_jobs(*self._read(args=list(QUEUES))))
            circuits = list(_of_circuits(self._circuits.view()))
            asked = self._redis.pipeline(transaction=False)
            asked.hgetall(keys.METERS)
            asked.info("memory")
            asked.config_get("append*")
            meters, memory, config = asked.execute(raise_on_error=False)
            if isinstance(meters, Exception):
                raise meters
        except (*broker.LOST, broker.ResponseError):
            return [Sample(REDIS, 0)], None
        return [Sample(REDIS, 1), *jobs, *circuits, *_of_store(memory, config)], meters


class InDatabase:
    """What PostgreSQL knows."""

    def __init__(self, readers: Sessions) -> None:
        self._engine = readers.kw["bind"]
        self._known: list[Sample] = []
        self._until = 0.0

    def look(self) -> list[Sample]:
        """How it stands, or stood some seconds ago."""
        if monotonic() >= self._until:
            try:
                with self._engine.connect() as connection:
                    rows = connection.execute(DEAD_LETTERS).all()
            except DATABASE_ERRORS:
                return [Sample(DATABASE, 0)]
            self._known, self._until = [Sample(DATABASE, 1), *_dead(rows)], monotonic() + KEPT
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


def _of_jobs(now: bytes, scheduled: int, due: int, scheduling: int, *queues: Any) -> Iterator[Sample]:
    at = from_micros(int(now))
    yield from (Sample(SCHEDULED, scheduled), Sample(DUE, due), Sample(SCHEDULER, scheduling))
    for queue, (leases, paused, heartbeats, *lanes) in zip(QUEUES, queues, strict=True):
        alive = sum(at - moment(heard) < ALIVE_WITHIN for heard in heartbeats)
        yield from (Sample(gauge, value, (queue,)) for gauge, value in
                    ((LEASES, leases), (PAUSED, paused), (WORKERS, alive)))  # fmt: skip
        for priority, (depth, *first) in zip(Priority, lanes, strict=True):
            yield Sample(DEPTH, depth, (queue, priority))
            yield Sample(AGE, _age(at, *first), (queue, priority))


def _age(now: datetime, created: bytes | None, due: bytes | None, run: bytes | None) -> float:
    """Seconds since a job was sent, or due. Of one that is run again it was noted nowhere when that began."""
    try:
        if created is None or int(run or 1) > 1:
            return 0
        since = max(parsed(created), from_micros(int(due)) if due else datetime.min.replace(tzinfo=UTC))
    except (ValueError, TypeError, OverflowError, OSError):
        return 0
    return max(0, (now - since).total_seconds())


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
