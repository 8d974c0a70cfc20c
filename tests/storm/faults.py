"""Faults: what is done to processes, and what is known of it afterwards."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from subprocess import Popen

import psutil

from tests.processes import kill
from tests.system.stack import Stack, children_of


@dataclass
class Killer:
    """SIGKILLs processes of a stack. `last`: when it last did anything, on the monotonic clock."""

    stack: Stack
    supervisor: Popen[bytes]
    chance: random.Random
    workers: list[int] = field(default_factory=list)
    api: list[int] = field(default_factory=list)
    last: float = 0.0

    def kill_worker(self) -> None:
        """A worker that has got as far as working; those that are only starting have nothing to lose."""
        started = started_workers(self.stack)
        self._kill([child for child in children_of(self.supervisor) if child.pid in started], self.workers)

    def kill_api(self) -> None:
        """A process that answers requests."""
        self._kill(self.stack.serving(), self.api)

    def _kill(self, alive: list[psutil.Process], killed: list[int]) -> None:
        if not alive:
            return
        victim = self.chance.choice(alive)
        with suppress(psutil.NoSuchProcess):
            kill(victim)
            killed.append(victim.pid)
            self.last = time.monotonic()


def started_workers(stack: Stack) -> set[int]:
    """The process ids of every worker that ever said it had started: its name is host-pid-random."""
    names = [line["worker"] for line in stack.lines("workers") if line["event"] == "worker_started"]
    return {process_of(name) for name in names}


def holder(token: bytes | None) -> int | None:
    """The process whose worker holds the lease of this token, which begins with the worker's name."""
    return process_of(token.decode().partition(":")[0]) if token else None


def process_of(worker: str) -> int:
    """A worker's name is host-process-random."""
    return int(worker.rsplit("-", 2)[1])
