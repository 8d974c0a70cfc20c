"""Millrace: `python -m workers`, everything on; orders go through the submitter that the API uses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from uuid import UUID

from benchmarks.systems.work import Order, Shape
from config import Settings
from jobs.kernel import broker
from jobs.kernel.errors import AppError
from jobs.kernel.submit import Submission, Submitter
from jobs.orders import PlaceOrder

VERSION = "this checkout"
_settings = Settings.from_env()
_redis = broker.connect(_settings.redis_url, timeout=5)
_submitter = Submitter(_redis, _settings)


def _workers(processes: int) -> list[list[str]]:
    return [[sys.executable, "-m", "workers", "--processes", str(processes)]]


SHAPES = {
    "one": Shape("1 process", _workers(1), 10_000),
    "two": Shape("2 processes", _workers(2), 15_000),
    "four": Shape("4 processes", _workers(4), 15_000),
}


def _submission(order: Order) -> Submission:
    command = PlaceOrder.model_validate(
        {name: order[name] for name in ("services", "total_fee", "customer_id")},
    )
    return Submission(UUID(order["id"]), command, UUID(order["owner_id"]))


def enqueue(order: Order) -> None:
    _submitter.submit(_submission(order))


def enqueue_many(orders: Sequence[Order]) -> None:
    for result in _submitter.submit_many([_submission(order) for order in orders]):
        if isinstance(result, AppError):
            raise result


def finished() -> int:
    return int(_redis.zcard("rq:finished:orders"))
