"""RQ as it comes: a worker that forks a process for every job."""

from __future__ import annotations

from benchmarks.systems.rq_jobs import VERSION, enqueue, enqueue_many, finished, worker
from benchmarks.systems.work import Shape

FORKING = worker("rq.worker.Worker")
SHAPES = {
    "one": Shape("1 worker", [FORKING], 25),
    "more": Shape("3 workers", [FORKING] * 3, 40),
}
__all__ = ["SHAPES", "VERSION", "enqueue", "enqueue_many", "finished"]
