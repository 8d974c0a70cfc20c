"""How fast a system does orders: its workers are up and warm, then halted while a backlog comes, then let go.

So nobody's start is in the figures, and nobody works while others still start; rows are counted until all are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter, sleep
from typing import Any

import psutil
import psycopg2
import psycopg2.extensions

from benchmarks.processes import family, halted, processor_seconds
from benchmarks.servers import Servers
from benchmarks.system import System

WARM_SECONDS, FEWEST_WARM, MOST_WARM = 0.3, 20, 2_000
START_WITHIN = 30
QUIET_SHARE, QUIET_SECONDS = 0.15, 0.3
"""Workers are quiet when all of them together have used less than this share of one processor for so long."""

SINGLE_SECONDS = 0.8
"""For how long the client enqueues one by one; the rest of the backlog comes in bulk, where the system has that."""

COUNT = "SELECT count(*) FROM orders"
COUNT_RECENT = "SELECT count(*) FROM orders WHERE created_at > now() - interval '1 hour'"


@dataclass
class Drain:
    """One run. Rates per second; bytes per job in Redis, None where they were not asked for; microseconds of processors
    an order, of its workers and of both servers."""

    system: str
    shape: str
    jobs: int
    rows: int
    results: int
    orders: float
    enqueue: float
    enqueue_bulk: float | None
    pending_bytes: float | None
    finished_bytes: float | None
    workers_us: float
    redis_us: float
    postgres_us: float
    cut: bool

    @property
    def whole(self) -> bool:
        """Whether every job has its row and its result, and no row is without a job."""
        return self.cut or self.rows == self.jobs == self.results

    def sample(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Load:
    """A backlog. `within`: seconds to give it. `weigh`: whether to add up what it takes in Redis, and what its results
    take. `owners`: whose the CUSTOMERS are. `beside_stored`: leave the orders that are there, which are a day old."""

    jobs: int
    within: float
    weigh: bool = False
    owners: int = 1
    beside_stored: bool = False


def drain(system: System, shape: str, load: Load) -> Drain:
    """Warm the workers up, halt them, enqueue a backlog, let them go, and wait until every row is there or time is over."""
    servers, weigh = system.servers, load.weigh
    servers.empty(keep_orders=load.beside_stored)
    with system.working(shape) as workers, closing(psycopg2.connect(servers.postgres.url())) as connection:
        connection.autocommit = True
        rows = partial(_count, connection.cursor(), COUNT_RECENT if load.beside_stored else COUNT)
        warm = _warmed_up(system, shape, workers, rows)
        with halted(family(workers)):
            before = servers.broker_bytes() if weigh else 0
            single, single_seconds = system.enqueue(min(load.jobs, 20_000), seconds=SINGLE_SECONDS, owners=load.owners)
            many, many_seconds = system.enqueue(load.jobs - single, bulk=system.bulk, owners=load.owners)
            pending = servers.broker_bytes() if weigh else 0
        jobs = single + many
        used_before = _used(servers, workers)
        rate, cut = _timed(lambda: rows() - warm, jobs, load.within)
        used = [after - before for before, after in zip(used_before, _used(servers, workers), strict=True)]
        results = _settled(system, warm + jobs, 0 if cut else 5) - warm
        finished = servers.broker_bytes() if weigh and not cut else None
        counted = rows() - warm
    workers_us, redis_us, postgres_us = (seconds / max(1, counted) * 1e6 for seconds in used)
    return Drain(
        system=system.name,
        shape=shape,
        jobs=jobs,
        rows=counted,
        results=results,
        orders=rate,
        enqueue=single / single_seconds,
        enqueue_bulk=many / many_seconds if system.bulk and many else None,
        pending_bytes=(pending - before) / jobs if weigh else None,
        finished_bytes=(finished - before) / jobs if finished is not None else None,
        workers_us=workers_us,
        redis_us=redis_us,
        postgres_us=postgres_us,
        cut=cut,
    )


def _warmed_up(system: System, shape: str, workers: Sequence[psutil.Process], rows: Callable[[], int]) -> int:
    """Have some orders done, and wait until all workers are up and idle again; how many orders."""
    asked = min(MOST_WARM, max(FEWEST_WARM, int(system.shapes[shape].guess * WARM_SECONDS)))
    warm, _ = system.enqueue(asked)
    deadline = perf_counter() + START_WITHIN
    while rows() < warm and perf_counter() < deadline:
        sleep(0.05)
    while not _quiet(workers) and perf_counter() < deadline:
        pass
    return warm


def _used(servers: Servers, workers: Sequence[psutil.Process]) -> list[float]:
    """Seconds of processors used so far by the workers, Redis and PostgreSQL."""
    parties = (workers, [psutil.Process(servers.redis.pid)], [psutil.Process(servers.postgres.pid)])
    return [processor_seconds(family(processes)) for processes in parties]


def _quiet(workers: Sequence[psutil.Process]) -> bool:
    """Whether nobody does anything worth mentioning for QUIET_SECONDS, and nobody has come or gone."""
    before = family(workers)
    used = processor_seconds(before)
    sleep(QUIET_SECONDS)
    after = family(workers)
    return before == after and processor_seconds(after) - used < QUIET_SHARE * QUIET_SECONDS


def _count(cursor: psycopg2.extensions.cursor, query: str) -> int:
    cursor.execute(query)
    (count,) = cursor.fetchone() or (0,)
    return int(count)


def _timed(rows: Callable[[], int], jobs: int, within: float) -> tuple[float, bool]:
    """Rows per second from now on until all `jobs` are there, and whether time ran out. It counts at ever shorter
    distance from the end, as the counting itself costs PostgreSQL time."""
    began = perf_counter()
    rate = 0.0
    done = 0
    while True:
        sleep(min(0.5, max(0.004, (jobs - done) / rate / 2)) if rate else 0.05)
        done, now = rows(), perf_counter()
        rate = done / (now - began)
        if done >= jobs or now > began + within:
            return rate, done < jobs


def _settled(system: System, jobs: int, seconds: float) -> int:
    """How many results are stored, once all are or the seconds are over: a result follows its row."""
    deadline = perf_counter() + seconds
    while (results := system.finished()) < jobs and perf_counter() < deadline:
        sleep(0.05)
    return results
