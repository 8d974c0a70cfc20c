"""Celery: JSON, results in Redis; processes or threads."""

from __future__ import annotations

import os
import sys
from importlib import metadata

from celery import Celery
from redis import Redis

from benchmarks.systems.work import Order, Shape, place

VERSION = metadata.version("celery")
BROKER = os.environ["REDIS_URL"]
RESULTS = BROKER.removesuffix("/0") + "/1"
MODULE = "benchmarks.systems.celery_app"

app = Celery("bench", broker=BROKER, backend=RESULTS)
task = app.task(name="orders.place")(place)


def _worker(pool: str, concurrency: int) -> list[str]:
    command = [sys.executable, "-m", "celery", "--app", MODULE, "worker", "--loglevel", "ERROR"]
    lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [*command, *lean, "--pool", pool, "--concurrency", str(concurrency)]


SHAPES = {
    "one": Shape("prefork, 1 process", [_worker("prefork", 1)], 250),
    "more": Shape("2 workers, 8 threads each", [_worker("threads", 8)] * 2, 500),
}


def enqueue(order: Order) -> None:
    task.delay(order)


def finished() -> int:
    return Redis.from_url(RESULTS).dbsize()
