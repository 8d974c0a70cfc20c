"""The book: every write that was asked for, with its key, what it was to do, and all that was heard of it."""

from __future__ import annotations

import itertools
import random
import secrets
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import requests

from jobs.kernel.submit import keyed_id
from tests.system.client import Client, order
from tests.system.sightings import Sightings

PLACE, AMEND, DELETE, DIAL = "INSERT", "UPDATE", "DELETE", "DIAL"
"""What a write does: to a table, in SQL's words, which are the effect log's too; or at the carrier."""

CHANGES = {"/v1/orders": {"total_fee": "1.00"}, "/v1/tasks": {"priority": "high"}}
"""What is changed of what was made there."""

PHONES = itertools.count()

ACCEPTED, LOST = 202, 0
PATIENCE = 90.0
AGAIN = (LOST, 429, 503)
"""Answers, and the want of one, after which a client asks again."""

UNKNOWN_SERVICE = "000"
Outcome = tuple[str, str | None]


class Refusal(NamedTuple):
    """An answer that was no acknowledgement: its status (LOST where there was none), the seconds it took, its code."""

    status: int
    seconds: float
    code: str = ""


@dataclass
class Write:
    """One write. `outcome`: what it has to come to, status and code. `effect`: what it does, where that succeeds.
    `job_id`: what its key stands for, so that it is known whatever is heard of it.

    `acknowledged`: when its 202 came, on the monotonic clock. `tries`: requests it took.
    """

    method: str
    path: str
    body: dict[str, Any] | None
    effect: str
    key: str
    job_id: str
    outcome: Outcome = ("succeeded", None)
    target: str | None = None
    acknowledged: float | None = None
    tries: int = 0
    refused: list[Refusal] = field(default_factory=list)

    @property
    def row_id(self) -> str:
        """What it is about: what a write makes bears the job's id."""
        return self.target or self.job_id


class Book:
    """Of one user's writes. `over`: how many have been acknowledged or given up. `sightings`: what the writers
    themselves have seen, one observer each."""

    def __init__(self, user: Client, secret: str) -> None:
        """`secret`: the service's, from which job ids are derived."""
        self.user = user
        self._secret = secret
        self.writes: list[Write] = []
        self.over = 0
        self.wrong_answers: list[str] = []
        self.sightings: list[Sightings] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    @property
    def acknowledged(self) -> list[Write]:
        with self._lock:
            return [write for write in self.writes if write.acknowledged is not None]

    @property
    def refused(self) -> list[Refusal]:
        with self._lock:
            return [answer for write in self.writes for answer in write.refused]

    @property
    def illegal(self) -> list[str]:
        """What was seen or answered that may never be."""
        return [wrong for sightings in self.sightings for wrong in sightings.wrong] + self.wrong_answers

    def order(self, *, wrong: bool = False, later: float = 0) -> Write:
        """A new order, of a customer of its own; a `wrong` one asks for a service that there is not, and one for
        `later` waits so many seconds."""
        path = "/v1/orders"
        if later:
            due = datetime.now(UTC) + timedelta(seconds=later)
            path += f"?run_at={due.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}"
        customer = f"customer-{next(self._numbers)}"
        if wrong:
            body = order(customer, services=[UNKNOWN_SERVICE])
            return self._write("POST", path, body, PLACE, outcome=("rejected", "unknown_service"))
        return self._write("POST", path, order(customer), PLACE)

    def change(self, placed: Write, *, delete: bool) -> Write:
        """The one change of an order, or a task, that has been made."""
        made_at, _, _ = placed.path.partition("?")
        path = f"{made_at}/{placed.job_id}"
        if delete:
            return self._write("DELETE", path, None, DELETE, target=placed.job_id)
        return self._write("PATCH", path, CHANGES[made_at], AMEND, target=placed.job_id)

    def call(self) -> Write:
        """A new call, to a number of its own, with which the carrier simulator has nothing special in mind."""
        exchange, line = divmod(next(PHONES), 9000)
        body = {"phone_number": f"+1415{200 + exchange}{1000 + line}", "customer_name": "Ada", "workflow": "support"}
        return self._write("POST", "/v1/calls", body, DIAL)

    def event(self) -> Write:
        """A new event."""
        return self._write("POST", "/v1/events", {"name": "seen", "details": {"number": next(self._numbers)}}, PLACE)

    def task(self) -> Write:
        """A new task."""
        return self._write("POST", "/v1/tasks", {"title": f"Call customer {next(self._numbers)} back"}, PLACE)

    def repeat(self, write: Write) -> None:
        """Ask once more for what was acknowledged: whatever is answered, it names the same job."""
        self._ask_once(replace(write, refused=[]), timeout=10)

    def ask(self, write: Write, *, patience: float = PATIENCE, pause: float = 0.1, timeout: float = 10) -> bool:
        """Ask as a careful client does: with one key, again and again until it is acknowledged; whether it was.

        `patience`: seconds until it gives up. `pause`: seconds between two tries. `timeout`: of one try.
        """
        with self._lock:
            self.writes.append(write)
        deadline = time.monotonic() + patience
        status = LOST
        while status in AGAIN and time.monotonic() < deadline:
            if write.tries:
                time.sleep(pause)
            status = self._ask_once(write, timeout)
        with self._lock:
            self.over += 1
        return status == ACCEPTED

    def _ask_once(self, write: Write, timeout: float) -> int:
        """One request; the status of its answer, or LOST."""
        write.tries += 1
        began = time.monotonic()
        try:
            answer = self.user(
                write.method, write.path, json=write.body, headers={"Idempotency-Key": write.key}, timeout=timeout
            )
        except requests.RequestException:
            write.refused.append(Refusal(LOST, time.monotonic() - began))
            return LOST
        if answer.status_code == ACCEPTED:
            if answer.json()["id"] != write.job_id:
                self.wrong_answers.append(f"{write.job_id} was acknowledged as {answer.json()['id']}")
            write.acknowledged = time.monotonic()
            return ACCEPTED
        write.refused.append(Refusal(answer.status_code, time.monotonic() - began, _code(answer)))
        if answer.status_code not in AGAIN:
            self.wrong_answers.append(f"{write.method} {write.path}: {answer.status_code} {answer.text[:200]}")
        return answer.status_code

    def observer(self) -> Sightings:
        """Somebody new who looks."""
        with self._lock:
            self.sightings.append(Sightings())
            return self.sightings[-1]

    def _write(self, *request: Any, **more: Any) -> Write:
        assert self.user.owner is not None
        key = secrets.token_hex(12)
        return Write(*request, key=key, job_id=str(keyed_id(self._secret, self.user.owner, key)), **more)


def _code(answer: requests.Response) -> str:
    problem = answer.headers.get("Content-Type", "").startswith("application/problem+json")
    return str(answer.json()["code"]) if problem else ""


class Writer:
    """A client that places orders, some for later, changes some of those that were placed, and looks at its jobs
    meanwhile. `plain`: it only places orders, all for now. `patience`: seconds until it gives a write up."""

    def __init__(self, book: Book, chance: random.Random, *, plain: bool = False, patience: float = PATIENCE) -> None:
        self._book = book
        self._plain = plain
        self._patience = patience
        self._chance = chance
        self._placed: list[Write] = []
        self._sightings = book.observer()

    def one(self) -> None:
        """Ask for one write."""
        if self._plain:
            self._book.ask(self._book.order(), patience=self._patience)
            return
        write = self._follow_up() or self._order()
        if self._book.ask(write, patience=self._patience) and write.effect == PLACE and write.outcome[0] == "succeeded":
            self._placed.append(write)

    def _order(self) -> Write:
        later = self._chance.uniform(1, 5) if self._chance.random() < 0.05 else 0
        return self._book.order(wrong=self._chance.random() < 0.1, later=later)

    def _follow_up(self) -> Write | None:
        """A change of an order that was asked for a while ago, if it is there by now."""
        if len(self._placed) < 3 or self._chance.random() < 0.7:
            return None
        placed = self._placed.pop(0)
        try:
            answer = self._book.user.get(f"/v1/jobs/{placed.job_id}", timeout=10)
        except requests.RequestException:
            return None
        if answer.status_code != 200:
            if answer.status_code != 503:
                self._book.wrong_answers.append(f"job {placed.job_id}: {answer.status_code} {answer.text[:200]}")
            return None
        job = answer.json()
        self._sightings.see(job)
        if job["status"] != "succeeded":
            return None
        return self._book.change(placed, delete=self._chance.random() < 0.5)
