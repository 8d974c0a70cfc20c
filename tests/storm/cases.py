"""Cases of fail points: one fault at one place, or at several one after the other, and lanes that try many side by side."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from jobs.kernel.failpoints import KILL, LOSE, STALL, Point
from tests.storm.row import Trial
from tests.system.stack import Stack

SEEDS = 2
STALL_SECONDS = 5
IN_API = (Point.SUBMIT_BEGINS, Point.SUBMIT_ANSWERED)
OF_CALLS = (Point.CALL_BEGINS, Point.CALL_ANSWERED, Point.SID_WRITTEN)
"""Passed by calls alone; they pass all others as well."""

REACHED_WITHIN = 30


@dataclass(frozen=True)
class Case:
    """How the system is set that meets the fault. `together`: the most jobs that a worker has in hand. `healthy`: whether a
    second worker works beside the one that is struck."""

    points: tuple[Point, ...]
    fault: str
    number: int
    together: int
    healthy: bool
    clients: int

    @classmethod
    def of(
        cls, points: tuple[Point, ...], fault: str, number: int, chance: random.Random, together: Sequence[int]
    ) -> Case:
        return cls(points, fault, number, chance.choice(together), chance.random() < 0.5, chance.choice([1, 4]))

    def __str__(self) -> str:
        beside = "beside a healthy worker" if self.healthy else "alone"
        places = ", ".join(self.points)
        return f"{self.fault} at {places}, {self.number}: {self.together} at a time, {beside}, {self.clients} clients"

    @property
    def in_api(self) -> bool:
        return self.points[0] in IN_API

    def latches(self, folder: Path) -> dict[Point, Path]:
        """What there is once a place has been struck."""
        return {point: folder / f"{point}-{self.fault}-{self.number}" for point in self.points}

    def told(self, folder: Path) -> dict[str, str]:
        """The environment of a process that carries the plan."""
        plan = ",".join(f"{point}={self.fault}@{latch}" for point, latch in self.latches(folder).items())
        return {"STORM_PLAN": plan, "STORM_STALL": str(STALL_SECONDS)}


Found = tuple[list[str], int]
"""What went wrong in a case, and how many writes were acknowledged."""

Lane = Callable[[Trial], AbstractContextManager[Callable[[Case, random.Random], Found]]]
"""A system of its own, and what tries a case on it."""


def every(points: Sequence[Point], trial: Trial, together: Sequence[int]) -> list[Case]:
    """Every place with every fault, and with every seed."""
    tried = product(points, (KILL, LOSE, STALL), range(SEEDS))
    return [Case.of((point,), fault, number, trial.chance, together) for point, fault, number in tried]


def try_all(trial: Trial, cases: list[Case], lanes: int, lane: Lane) -> list[tuple[Case, list[str], int]]:
    """What came of each case. Every lane takes the next case when it is done with one."""
    left, seed = deque(cases), trial.chance.random()

    def one(number: int) -> list[tuple[Case, list[str], int]]:
        own, done = replace(trial, folder=trial.folder / f"lane-{number}"), []
        own.folder.mkdir()
        with lane(own) as tried:
            while case := _next(left):
                done.append((case, *tried(case, random.Random(f"{seed} {case}"))))
        return done

    with ThreadPoolExecutor(lanes) as pool:
        running = [pool.submit(one, number) for number in range(lanes)]
        try:
            return [case for each in running for case in each.result()]
        finally:
            left.clear()  # where this is interrupted, or a lane raised, the others begin nothing more


def summary(tried: Sequence[tuple[Case, list[str], int]]) -> tuple[str, list[str]]:
    """Figures of cases, and what was wrong."""
    wrong = [f"{case}: {'; '.join(found)}" for case, found, _ in tried if found]
    places = {point for case, *_ in tried for point in case.points}
    faults = dict.fromkeys(case.fault for case, *_ in tried)
    return f"{len(tried) - len(wrong)} of {len(tried)} cases right ({len(places)} places; {', '.join(faults)})", wrong


def arm_api(stack: Stack, case: Case) -> None:
    """Where the case asks for it, an API that carries the plan: it strikes one of its processes, once."""
    if case.in_api:
        stack.stop_api()
        stack.start_api(**case.told(stack.folder))


def until_struck(latches: Mapping[Point, Path]) -> list[str]:
    """Wait for the fault to strike; what it never reached."""
    deadline = time.monotonic() + REACHED_WITHIN
    while time.monotonic() < deadline and not all(latch.exists() for latch in latches.values()):
        time.sleep(0.05)
    return [f"{point} was never reached" for point, latch in latches.items() if not latch.exists()]


def _next(left: deque[Case]) -> Case | None:
    try:
        return left.popleft()
    except IndexError:
        return None
