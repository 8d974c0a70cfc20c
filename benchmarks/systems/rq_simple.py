"""RQ's SimpleWorker, which carries jobs out in its own process."""

from __future__ import annotations

from benchmarks.systems.rq_jobs import VERSION, enqueue, enqueue_many, finished, worker
from benchmarks.systems.work import Shape

SIMPLE = worker("rq.worker.SimpleWorker")
SHAPES = {
    "one": Shape("1 worker", [SIMPLE], 100),
    "more": Shape("6 workers", [SIMPLE] * 6, 230),
}
__all__ = ["SHAPES", "VERSION", "enqueue", "enqueue_many", "finished"]
