"""Load on a service that is about to fail, and what it says while it does (CONTRACT.md §1)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import requests

from tests.processes import until
from tests.system.client import Client
from tests.system.threads import again_and_again

ANSWERS_WITHIN = 1 * 5
EFFECT_WITHIN = 5 * 5
"""CONTRACT.md §1 says 1 s, and the bars 5 s; here, five times that."""

CHANGE = {"total_fee": "1.00"}


class Load:
    """Orders of one user, placed without a pause by 4 careful clients."""

    def __init__(self, user: Client) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[requests.Response] = []
        self._user = user
        self._lock = threading.Lock()
        self._count = 0

    def one(self) -> None:
        with self._lock:
            self._count += 1
            number = self._count
        self.acknowledged.append(self._user.persist(f"load-{number}", seen=self.refused))

    @contextmanager
    def running(self) -> Iterator[None]:
        """For the length of the block; what was asked for then is acknowledged afterwards."""
        with ExitStack() as clients:
            for _ in range(4):
                clients.enter_context(again_and_again(self.one, 0.03))
            until(lambda: len(self.acknowledged) > 50)
            yield


def assert_unavailable(answer: requests.Response, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (503, code, 503)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert answer.elapsed.total_seconds() < ANSWERS_WITHIN
    return problem
