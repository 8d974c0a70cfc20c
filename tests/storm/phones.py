"""Calls in a storm: the carrier simulator that they go to, and the clients who ask for them and look what becomes of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import requests

from local.carrier import Carrier
from tests.storm.book import Book
from tests.storm.row import Trial
from tests.system import telephony
from tests.system.sightings import CallSightings, Sightings
from tests.system.stack import Stack

REPEATED = 0.1
"""How many are asked for again, though they were acknowledged."""

SOON = {
    "calls_per_second": 200,
    "twilio_timeout_seconds": 1,
    "call_reconcile_seconds": 1,
    "call_settle_seconds": 4,
    "call_silent_seconds": 3,
}
"""Settings with which all that calls wait for comes soon."""

HANG_SECONDS = 3.0
"""Longer than an answer is waited for."""

NEVER = 1_000_000
"""Failures that open no circuit."""


@contextmanager
def telephone(trial: Trial, **settings: float) -> Iterator[tuple[Stack, Carrier]]:
    """A system with a carrier, and a worker that records what the carrier tells. `settings`: over those of SOON."""
    chances, more = trial.chance.randrange(2**32), {**SOON, **settings}
    with ExitStack() as running:
        carrier = running.enter_context(telephony.simulator(seed=chances, hang_seconds=HANG_SECONDS))
        stack = running.enter_context(trial.stack(api_processes=2, **telephony.account_at(carrier), **more))
        running.enter_context(stack.workers(1))
        yield stack, carrier


class Caller:
    """A client that asks for calls, for some of them again under the same key."""

    def __init__(self, book: Book, chance: random.Random) -> None:
        self._book = book
        self._chance = chance

    def one(self) -> None:
        """Ask for one call."""
        write = self._book.call()
        if self._book.ask(write) and self._chance.random() < REPEATED:
            self._book.repeat(write)


class Looker:
    """A client that looks at calls and their jobs."""

    def __init__(self, book: Book, chance: random.Random) -> None:
        self.calls = CallSightings()
        self._book = book
        self._jobs: Sightings = book.observer()
        self._chance = chance

    def look(self) -> None:
        """One look at a few jobs, and at the newest of the list of calls."""
        recent = self._book.acknowledged[-400:]
        try:
            for write in self._chance.sample(recent, min(5, len(recent))):
                answer = self._asked(f"/v1/jobs/{write.job_id}")
                if answer is not None:
                    self._jobs.see(answer.json())
            answer = self._asked("/v1/calls?limit=50")
            for call in answer.json()["data"] if answer is not None else ():
                self.calls.see(call)
        except requests.RequestException:
            return

    def _asked(self, path: str) -> requests.Response | None:
        answer = self._book.user.get(path, timeout=10)
        if answer.status_code == 200:
            return answer
        if answer.status_code != 503:
            self._book.wrong_answers.append(f"{path}: {answer.status_code} {answer.text[:200]}")
        return None
