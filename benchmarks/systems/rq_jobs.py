"""What RQ's two kinds of worker share: the queue, and how orders get onto it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import metadata

from redis import Redis
from rq import Queue
from rq.registry import FinishedJobRegistry

from benchmarks.systems.work import Order, place

VERSION = metadata.version("rq")
QUEUE = Queue("bench", connection=Redis.from_url(os.environ["REDIS_URL"]))


def worker(worker_class: str) -> list[str]:
    """The command of one worker."""
    command = [sys.executable, "-m", "rq.cli", "worker", "--url", os.environ["REDIS_URL"], "--quiet"]
    return [*command, "--worker-class", worker_class, QUEUE.name]


def enqueue(order: Order) -> None:
    QUEUE.enqueue(place, order)


def enqueue_many(orders: Sequence[Order]) -> None:
    QUEUE.enqueue_many([Queue.prepare_data(place, (order,)) for order in orders])


def finished() -> int:
    return FinishedJobRegistry(queue=QUEUE).get_job_count(cleanup=False)
