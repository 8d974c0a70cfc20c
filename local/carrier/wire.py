"""How the simulator speaks to those who placed a call: signed requests, sent by a few threads, each when its time comes."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from itertools import count
from queue import SimpleQueue
from time import monotonic
from urllib.parse import urlencode

import requests
from twilio.request_validator import RequestValidator

from local.carrier.book import Hook

SENDERS = 16
TIMEOUT = (5, 15)
"""Seconds to connect, and to answer; the latter is Twilio's own (https://www.twilio.com/docs/usage/webhooks/webhooks-faq)."""

Task = Callable[[requests.Session], None]


class Wire:
    """A heap of tasks with their times, and threads that carry them out, with a connection kept alive each."""

    def __init__(self, auth_token: str) -> None:
        self._validator = RequestValidator(auth_token)
        self._heap: list[tuple[float, int, Task]] = []
        self._numbers = count()
        self._changed = threading.Condition()
        self._closing = False
        self._due: SimpleQueue[Task | None] = SimpleQueue()
        names = {"carrier-clock": self._watch} | {f"carrier-sender-{number}": self._work for number in range(SENDERS)}
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in names.items()]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """What is not yet due is forgotten; what is being sent has a moment to end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for _ in range(SENDERS):
            self._due.put(None)
        deadline = monotonic() + 2
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0, deadline - monotonic()))

    def after(self, seconds: float, task: Task) -> None:
        with self._changed:
            heapq.heappush(self._heap, (monotonic() + seconds, next(self._numbers), task))
            self._changed.notify()

    def soon(self, task: Task) -> None:
        self._due.put(task)

    def send(self, session: requests.Session, hook: Hook, told: dict[str, str]) -> tuple[int, str]:
        """Status and body of the answer; 0 and nothing where none came."""
        if hook.method == "GET":
            url = f"{hook.url}{'&' if '?' in hook.url else '?'}{urlencode(told)}"
            signed, form = self._validator.compute_signature(url, {}), None
        else:
            url, form = hook.url, told
            signed = self._validator.compute_signature(url, told)
        headers = {"X-Twilio-Signature": signed, "User-Agent": "carrier-simulator"}
        try:
            answer = session.request(
                hook.method, url, data=form, headers=headers, timeout=TIMEOUT, allow_redirects=False
            )
        except requests.RequestException:
            return 0, ""
        return answer.status_code, answer.text

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._closing:
                    return
                wait = self._heap[0][0] - monotonic() if self._heap else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                task = heapq.heappop(self._heap)[2]
            self._due.put(task)

    def _work(self) -> None:
        with new_session() as session:
            while (task := self._due.get()) and not self._closing:
                task(session)


def new_session() -> requests.Session:
    """One that takes nothing from the environment, such as a proxy."""
    session = requests.Session()
    session.trust_env = False
    return session
