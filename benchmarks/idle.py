"""What one worker process costs while it has nothing to do."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, sleep

from benchmarks.processes import family, processor_seconds
from benchmarks.system import System

SETTLED = 3
"""Seconds that a worker may take to start, which are not idle ones."""


@dataclass(frozen=True)
class Idle:
    """`processor`: percent of one processor. `resident`, `proportional`: MiB; the latter counts pages that processes
    share in parts (None where the system does not tell). `supervisor`: MiB resident of the process that watches."""

    processor: float
    resident: float
    proportional: float | None
    supervisor: float


def idle_cost(system: System, seconds: float) -> Idle:
    """Measure one worker process on empty queues, after it has done some work."""
    system.servers.empty()
    system.enqueue(500, bulk=True)
    with system.working("one") as (supervisor,):
        while system.finished() < 500:
            sleep(0.1)
        sleep(SETTLED)
        workers = [process for process in family([supervisor]) if process.pid != supervisor.pid]
        before, began = processor_seconds(workers), perf_counter()
        sleep(seconds)
        share = (processor_seconds(workers) - before) / (perf_counter() - began) * 100
        memory = workers[0].memory_full_info()
        proportional = getattr(memory, "pss", None)
        return Idle(
            processor=share,
            resident=memory.rss / 2**20,
            proportional=proportional / 2**20 if proportional is not None else None,
            supervisor=supervisor.memory_info().rss / 2**20,
        )
