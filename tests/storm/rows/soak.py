"""Soak: half an hour at half load, in which nothing may grow that has no reason to. Only by `make soak`."""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from subprocess import Popen
from threading import Thread
from typing import Any

import psutil

from benchmarks.http import load
from local.processes import wait_until
from tests.storm import effects
from tests.storm.raw import requests_of
from tests.storm.row import Control, Result, Row, Trial
from tests.system.stack import Stack, children_of

API_PROCESSES = 2
CONNECTIONS = 32
HALF = 0.5
EVERY = 5.0
"""Seconds between two looks."""

SHIFT = 300.0
"""Seconds for which one person asks: a token is good for three times as long."""

FINAL_TTL_SECONDS, QUICK_TTL_SECONDS = 60, 15
"""How long final jobs stay in Redis: by default a quarter of an hour, half of this test."""

QUICK_MINUTES = 2.5

GROWTH = {"MiB": (1.10, 8), "connections": (1.0, 2), "files": (1.0, 4)}
"""From the second quarter to the last: by which factor, or by how much, a figure may grow and still be flat."""

GLIBC = "libc"
"""The allocator with which the server from the wheel was built. It gains holes for hours, while Redis holds no more than
before; so Redis's resident memory is judged only where it was built with its own, jemalloc, and what it holds always."""


@dataclass
class Looks:
    """What was seen: name of a figure to its values, one a look."""

    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def at(self, stack: Stack, processes: dict[str, list[psutil.Process]]) -> None:
        for name, family in processes.items():
            self.figures[f"{name} MiB"].append(sum(one.memory_info().rss for one in family) / 2**20)
            self.figures[f"{name} files"].append(sum(one.num_fds() for one in family))
        ((sessions,),) = stack.rows("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'millrace%%'")
        self.figures["PostgreSQL connections"].append(sessions)
        said = stack.in_redis(lambda redis: redis.info())
        self.figures["Redis connections"].append(said["connected_clients"])
        self.figures["Redis data MiB"].append(said["used_memory"] / 2**20)

    def grown(self) -> dict[str, tuple[float, float]]:
        """Of each figure that is not flat, its median in the second quarter and in the last."""
        quarters = {name: self.quarters(values) for name, values in self.figures.items()}
        return {name: pair for name, pair in quarters.items() if _grows(name.rsplit(" ", 1)[1], *pair)}

    @staticmethod
    def quarters(values: list[float]) -> tuple[float, float]:
        quarter = max(1, len(values) // 4)
        return statistics.median(values[quarter : 2 * quarter] or values), statistics.median(values[-quarter:])


def run(trial: Trial) -> Result:
    seconds = 60 * (QUICK_MINUTES if trial.quick else float(os.environ.get("MINUTES", "30")))
    stays = trial.pick(FINAL_TTL_SECONDS, QUICK_TTL_SECONDS)
    settings = {"max_queue_depth": 10_000_000, "final_ttl_seconds": stays}
    with ExitStack() as running:
        stack = running.enter_context(trial.stack(api_processes=API_PROCESSES, **settings))
        workers, scheduler = running.enter_context(stack.workers(2, 200)), running.enter_context(stack.scheduler())
        requests = requests_of(stack.person(), stack.port)
        baseline, allocator = _redis_bytes(stack), _redis_memory(stack)["mem_allocator"]
        peak = load.closed_loop(stack.port, requests, connections=CONNECTIONS, seconds=10)
        looks, answers = Looks(), peak.answers.copy()

        def ask() -> None:
            ends = time.monotonic() + seconds
            while (left := ends - time.monotonic()) > 0:
                asked = {"connections": CONNECTIONS, "seconds": min(left, SHIFT), "rate": HALF * peak.rate}
                shift = load.open_loop(stack.port, requests_of(stack.person(), stack.port), **asked)
                answers.update(shift.answers)

        clients = Thread(target=ask)
        clients.start()
        processes = _processes(stack, workers, scheduler)
        while clients.is_alive():
            looks.at(stack, processes)
            time.sleep(EVERY)
        accepted = answers[202]
        done = wait_until(lambda: effects.count(stack) >= accepted, within=120, every=0.5)
        back = wait_until(lambda: _redis_bytes(stack) <= 1.1 * baseline + 2**20, within=stays + 90, every=1)
        twice, more = effects.repeated(stack), effects.count(stack) - accepted
        after = _redis_bytes(stack)
    said = ", ".join(f"{name} {before:.0f} to {last:.0f}" for name, (before, last) in (
        (name, Looks.quarters(values)) for name, values in looks.figures.items()
    ))  # fmt: skip
    result = Result(
        f"{seconds / 60:g} minutes at {HALF * peak.rate:.0f}/s: {accepted:,} accepted, answers {dict(answers)}; from the "
        f"second quarter to the last {said}; Redis (allocator {allocator}) {baseline / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after"
    )
    judged = {name: pair for name, pair in looks.grown().items() if name != "Redis MiB" or allocator != GLIBC}
    result.missed += [f"{name} grew from {was:.0f} to {last:.0f}" for name, (was, last) in judged.items()]
    result.want(set(answers) <= {202, 503}, f"other answers: {dict(answers)}")
    result.want(done, "not every accepted write was carried out")
    result.want(twice == 0, f"{twice} effects happened again")
    result.want(more <= answers[503], f"{more} effects more than accepted writes, {answers[503]} lost answers at most")
    result.want(back, f"Redis held {after:,} bytes in the end, {baseline:,} before")
    return result


def _processes(stack: Stack, workers: Popen[bytes], scheduler: Popen[bytes]) -> dict[str, list[psutil.Process]]:
    return {
        "API": stack.serving(),
        "workers": children_of(workers),
        "scheduler": [psutil.Process(scheduler.pid)],
        "Redis": [psutil.Process(stack.redis.pid)],
    }


def _redis_bytes(stack: Stack) -> int:
    return int(_redis_memory(stack)["used_memory"])


def _redis_memory(stack: Stack) -> dict[str, Any]:
    said: dict[str, Any] = stack.in_redis(lambda redis: redis.info("memory"))
    return said


def _grows(unit: str, before: float, last: float) -> bool:
    factor, amount = GROWTH[unit]
    return last > max(before * factor, before + amount)


ROW = Row(
    "soak",
    "RSS, connections, files flat; Redis back to its baseline after the drain",
    run,
    (
        Control("workers MiB grew", "nothing_forgotten"),
        Control("workers files grew", "nothing_closed"),
        Control("Redis data MiB grew", "final_for_ever"),
    ),
)
