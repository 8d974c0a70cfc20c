"""Fail points: a process dies, loses a reply or stalls at every labelled place on the road of a write."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from jobs.kernel.failpoints import KILL, LOSE, STALL, Point
from tests.storm import checker
from tests.storm.book import Book, Writer
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.stack import Stack
from tests.system.threads import again_and_again

LEASE_SECONDS = 2
STALL_SECONDS = 5
LANES = 3
SEEDS = 2
IN_API = (Point.SUBMIT_BEGINS, Point.SUBMIT_ANSWERED)
IN_WORKER = tuple(point for point in Point if point not in IN_API)
REACHED_WITHIN = 30
FINAL_WITHIN = 60


@dataclass(frozen=True)
class Case:
    """One fault at one place, or at several one after the other, and how the system is set that meets it.

    `healthy`: whether a second worker works beside the one that is struck.
    """

    points: tuple[Point, ...]
    fault: str
    number: int
    batch: int
    healthy: bool
    clients: int

    @classmethod
    def of(cls, points: tuple[Point, ...], fault: str, number: int, chance: random.Random) -> Case:
        return cls(points, fault, number, chance.choice([1, 5, 50]), chance.random() < 0.5, chance.choice([1, 4]))

    def __str__(self) -> str:
        beside = "beside a healthy worker" if self.healthy else "alone"
        places = ", ".join(self.points)
        return f"{self.fault} at {places}, {self.number}: batches of {self.batch}, {beside}, {self.clients} clients"

    def latches(self, folder: Path) -> dict[Point, Path]:
        """What there is once a place has been struck."""
        return {point: folder / f"{point}-{self.fault}-{self.number}" for point in self.points}


def cases_of(trial: Trial) -> list[Case]:
    """Every place with every fault, and with every seed; of a quick trial the most telling."""
    if not trial.quick:
        every = product(Point, (KILL, LOSE, STALL), range(SEEDS))
        return [Case.of((point,), fault, number, trial.chance) for point, fault, number in every]
    kills = (Point.RESERVE_ANSWERED, Point.COMMIT_ANSWERED)
    some = [(IN_API, LOSE), (IN_WORKER, LOSE), *(((point,), KILL) for point in kills)]
    return [Case.of(points, fault, 0, trial.chance) for points, fault in some]


def run(trial: Trial) -> Result:
    cases = cases_of(trial)
    tried = _try_all(trial, cases, trial.pick(LANES, 1))
    wrong = [f"{case}: {'; '.join(found)}" for case, found, _ in tried if found]
    places, faults = {point for case in cases for point in case.points}, dict.fromkeys(case.fault for case in cases)
    return Result(
        f"{len(tried) - len(wrong)} of {len(tried)} cases right ({len(places)} places; {', '.join(faults)}), "
        f"{sum(count for *_, count in tried):,} acknowledged writes with one effect each",
        wrong,
    )


def _try_all(trial: Trial, cases: list[Case], lanes: int) -> list[tuple[Case, list[str], int]]:
    """What came of each case. Every lane has a system of its own, and takes the next case when it is done with one."""
    left, seed = deque(cases), trial.chance.random()

    def lane(number: int) -> list[tuple[Case, list[str], int]]:
        own, done = replace(trial, folder=trial.folder / f"lane-{number}"), []
        own.folder.mkdir()
        with own.stack(lease_seconds=LEASE_SECONDS, api_processes=2) as stack, stack.scheduler():
            while case := _next(left):
                done.append((case, *_one(stack, case, random.Random(f"{seed} {case}"))))
        return done

    with ThreadPoolExecutor(lanes) as pool:
        running = [pool.submit(lane, number) for number in range(lanes)]
        try:
            return [one for lane in running for one in lane.result()]
        finally:
            left.clear()  # where this is interrupted, or a lane raised, the others begin nothing more


def _next(left: deque[Case]) -> Case | None:
    try:
        return left.popleft()
    except IndexError:
        return None


def _one(stack: Stack, case: Case, chance: random.Random) -> tuple[list[str], int]:
    """What went wrong in a case, and how many writes were acknowledged."""
    latches = case.latches(stack.folder)
    plan = ",".join(f"{point}={case.fault}@{latch}" for point, latch in latches.items())
    book = book_of(stack)
    with _armed(stack, case, {"STORM_PLAN": plan, "STORM_STALL": str(STALL_SECONDS)}):
        _write_until_struck(book, case, latches, chance)
        wrong = [f"{point} was never reached" for point, latch in latches.items() if not latch.exists()]
        if checker.until_final(stack, book, FINAL_WITHIN) is None:
            wrong.append("not all final in time")
        verdict = checker.check(stack, book)
    return wrong + verdict.wrong, verdict.acknowledged


@contextmanager
def _armed(stack: Stack, case: Case, told: dict[str, str]) -> Iterator[None]:
    """Workers, and where the case asks for it an API, that carry the plan; it strikes one of them, once."""
    if case.points[0] in IN_API:
        stack.stop_api()
        stack.start_api(**told)
    with stack.workers(1 + case.healthy, case.batch, told=told):
        yield


def _write_until_struck(book: Book, case: Case, latches: Mapping[Point, Path], chance: random.Random) -> None:
    """Write until the fault has struck, and a little longer."""
    deadline = time.monotonic() + REACHED_WITHIN
    with ExitStack() as clients:
        for _ in range(case.clients):
            writer = Writer(book, random.Random(chance.random()))
            clients.enter_context(again_and_again(writer.one, 0.05))
        while time.monotonic() < deadline and not all(latch.exists() for latch in latches.values()):
            time.sleep(0.05)
        time.sleep(0.5)


ROW = Row("fail points", "exactly one effect each", run, (Control("duplicated", "no_receipts"),))
