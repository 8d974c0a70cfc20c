"""dramatiq: processes with threads, results in Redis."""

from __future__ import annotations

import os
import sys
from importlib import metadata

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from redis import Redis

from benchmarks.systems.work import Order, Shape, place

VERSION = metadata.version("dramatiq")
BROKER = os.environ["REDIS_URL"]
RESULTS = BROKER.removesuffix("/0") + "/1"
MODULE = "benchmarks.systems.dramatiq_app"

broker = RedisBroker(url=BROKER)
broker.add_middleware(Results(backend=RedisBackend(url=RESULTS)))
dramatiq.set_broker(broker)
actor = dramatiq.actor(place, actor_name="place", store_results=True)


def _workers(processes: int, threads: int) -> list[list[str]]:
    command = [sys.executable, "-m", "dramatiq", MODULE, "--skip-logging"]
    return [[*command, "--processes", str(processes), "--threads", str(threads)]]


SHAPES = {
    "one": Shape("1 process, 8 threads", _workers(1, 8), 1500),
    "more": Shape("2 processes, 8 threads each", _workers(2, 8), 1700),
}


def enqueue(order: Order) -> None:
    actor.send(order)


def finished() -> int:
    return Redis.from_url(RESULTS).dbsize()
