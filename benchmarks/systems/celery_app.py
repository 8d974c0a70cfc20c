"""Celery: prefork workers, JSON, results in Redis."""

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


def _workers(processes: int) -> list[list[str]]:
    command = [sys.executable, "-m", "celery", "--app", MODULE, "worker", "--loglevel", "ERROR"]
    lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [[*command, *lean, "--pool", "prefork", "--concurrency", str(processes)]]


SHAPES = {
    "one": Shape("prefork, 1 process", _workers(1), 390),
    "best": Shape("prefork, 4 processes", _workers(4), 980),
}


def enqueue(order: Order) -> None:
    task.delay(order)


def finished() -> int:
    return Redis.from_url(RESULTS).dbsize()
