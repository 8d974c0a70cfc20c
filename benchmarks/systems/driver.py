"""Drives one system from inside its own environment: `python -m benchmarks.systems.driver MODULE`.

A request is one JSON object a line on standard input, and is answered by one on standard output; the end of input ends
it. Requests: `describe`; `enqueue` (first, count, seconds, bulk, customers, owners); `pace` (rate, seconds, the same);
`finished`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from dataclasses import asdict
from itertools import islice
from types import ModuleType
from typing import Any

from benchmarks.systems.work import orders

BULK = 1000
"""Orders in one call of a system's bulk interface; who cuts it smaller does so inside."""


def describe(system: ModuleType) -> dict[str, Any]:
    """What the harness has to know of the system."""
    shapes = {name: asdict(shape) for name, shape in system.SHAPES.items()}
    return {"version": system.VERSION, "shapes": shapes, "bulk": hasattr(system, "enqueue_many")}


def enqueue(
    system: ModuleType, *, first: int, count: int, seconds: float, bulk: bool, customers: int, owners: int
) -> dict[str, Any]:
    """Enqueue up to `count` orders in up to `seconds`; how many, and the seconds it took. Making them is not timed."""
    waiting = orders(first, count, customers=customers, owners=owners)
    done, taken = 0, 0.0
    while taken < seconds and (some := list(islice(waiting, BULK if bulk else 50))):
        began = time.perf_counter()
        if bulk:
            system.enqueue_many(some)
        else:
            for order in some:
                system.enqueue(order)
        taken += time.perf_counter() - began
        done += len(some)
    return {"count": done, "seconds": taken}


def pace(system: ModuleType, *, first: int, rate: float, seconds: float, customers: int, owners: int) -> dict[str, Any]:
    """Enqueue at a steady rate; when each order was asked for, by id, in seconds since the epoch."""
    asked = {}
    began = time.perf_counter()
    for number, order in enumerate(orders(first, int(rate * seconds), customers=customers, owners=owners)):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        asked[order["id"]] = time.time()
        system.enqueue(order)
    return {"asked": asked, "seconds": time.perf_counter() - began}


def finished(system: ModuleType) -> dict[str, Any]:
    """How many results are stored."""
    return {"count": system.finished()}


def main() -> None:
    asks = {ask.__name__: ask for ask in (describe, enqueue, pace, finished)}
    system = importlib.import_module(f"benchmarks.systems.{sys.argv[1]}")
    for line in sys.stdin:
        request = json.loads(line)
        answer = asks[request.pop("ask")](system, **request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
