"""huey: one consumer with workers in it."""

from __future__ import annotations

import os
import sys
from importlib import metadata

from huey import RedisHuey

from benchmarks.systems.work import Order, Shape, place

VERSION = metadata.version("huey")

huey = RedisHuey("bench", url=os.environ["REDIS_URL"])
task = huey.task(name="place")(place)


def _workers(count: int, kind: str) -> list[list[str]]:
    command = [sys.executable, "-m", "huey.bin.huey_consumer", "benchmarks.systems.huey_app.huey", "--quiet"]
    return [[*command, "--workers", str(count), "--worker-type", kind]]


SHAPES = {
    "one": Shape("1 worker thread", _workers(1, "thread"), 700),
    "more": Shape("6 worker processes", _workers(6, "process"), 1300),
}


def enqueue(order: Order) -> None:
    task(order)


def finished() -> int:
    return int(huey.storage.result_store_size())
