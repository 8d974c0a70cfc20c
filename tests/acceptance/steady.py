"""A steady load: writes of every sort, each with its key, and reads, by clients of several habits. Of what they ask for not
one request may fail."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import requests

from tests.storm import checker
from tests.storm.book import Book, Write
from tests.system.client import Client
from tests.system.stack import LAST, Stack

QUEUES = ("orders", "tasks", "events")
FINAL_WITHIN = 60


class Fresh(Client):
    """Somebody who makes a connection for each request."""

    def __call__(self, method: str, path: str, **more: Any) -> requests.Response:
        return super().__call__(method, path, **more | {"headers": LAST | more.get("headers", {})})


class Habit(NamedTuple):
    """How some clients go about it. `pause`: seconds between two requests, from and to."""

    clients: int
    pause: tuple[float, float]
    kind: Callable[..., Client] = Client


HABITS = (Habit(3, (0.02, 0.08)), Habit(12, (1.5, 3.5)), Habit(2, (0.03, 0.1), Fresh))
"""Who is busy on connections that are kept, who lets them be idle for about as long as a server that leaves puts up with
(`deploy.door.IDLE`), and who keeps none."""


class Steady:
    """The load on a stack; of every habit one user."""

    def __init__(self, stack: Stack, chance: random.Random, habits: tuple[Habit, ...] = HABITS) -> None:
        self._stack = stack
        self._chance = chance
        self._habits = habits
        self._books = [Book(stack.person(kind=habit.kind), stack.settings.secret_key) for habit in habits]

    @property
    def acknowledged(self) -> int:
        """How many writes have been."""
        return sum(len(book.acknowledged) for book in self._books)

    @property
    def done(self) -> int:
        """How many jobs are final."""
        return sum(len(checker.outcomes(self._stack, book)) for book in self._books)

    @contextmanager
    def running(self) -> Iterator[None]:
        """For the length of the block; afterwards every request has been answered."""
        over = threading.Event()
        with ThreadPoolExecutor(sum(habit.clients for habit in self._habits)) as threads:
            asking = [
                threads.submit(self._ask, book, habit.pause, random.Random(self._chance.random()), over)
                for book, habit in zip(self._books, self._habits, strict=True)
                for _ in range(habit.clients)
            ]
            try:
                yield
            finally:
                over.set()
        for asked in asking:
            asked.result()

    def assert_each_done_once(self) -> None:
        """Every write that was acknowledged has come to what it had to, with one receipt and one effect; no request has
        failed, and no answer told otherwise. Redis is empty afterwards."""
        for book in self._books:
            assert book.acknowledged, "nothing was asked for, so nothing is shown"
            assert not book.refused, book.refused
            assert checker.until_final(self._stack, book, FINAL_WITHIN) is not None, "not all is final"
            assert not (left := checker.unsettled(self._stack, book, *QUEUES)), left
        for book in self._books:
            verdict = checker.check(self._stack, book)
            assert not verdict.wrong, (verdict.figures, verdict.wrong)

    @staticmethod
    def _ask(book: Book, pause: tuple[float, float], chance: random.Random, over: threading.Event) -> None:
        somebody = _Somebody(book, chance)
        while not over.wait(chance.uniform(*pause)):
            somebody.one()


class _Somebody:
    """One client: they write, look what became of it, and change it."""

    def __init__(self, book: Book, chance: random.Random) -> None:
        self._book = book
        self._chance = chance
        self._sightings = book.observer()
        self._made: list[Write] = []

    def one(self) -> None:
        if len(self._made) > 3:
            self._change(self._made.pop(0))
            return
        write = self._new()
        if self._book.ask(write) and write.outcome[0] == "succeeded":
            self._made.append(write)

    def _new(self) -> Write:
        sort = self._chance.random()
        if sort < 0.2:
            return self._book.task()
        if sort < 0.3:
            return self._book.event()
        return self._book.order(wrong=sort > 0.9, later=self._chance.uniform(1, 3) if sort > 0.85 else 0)

    def _change(self, made: Write) -> None:
        """Look at it, in a hurry or not, and change it where it is there and can be."""
        job = self._read(f"/v1/jobs/{made.job_id}", {"Prefer": f"wait={self._chance.choice([0, 2])}"})
        if job is None:
            return
        self._sightings.see(job)
        if job["status"] == "succeeded" and made.path != "/v1/events":
            self._read(f"{made.path.partition('?')[0]}?limit=5", {})
            self._book.ask(self._book.change(made, delete=self._chance.random() < 0.5))

    def _read(self, path: str, headers: dict[str, str]) -> Any:
        """What is answered; None where nothing is, or no good, which is noted down."""
        try:
            answer = self._book.user("GET", path, headers=headers, timeout=10)
        except requests.RequestException as error:
            self._book.wrong_answers.append(f"GET {path}: {error!r}")
            return None
        if answer.status_code != 200:
            self._book.wrong_answers.append(f"GET {path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer.json()
