"""Places for streams: how many of them, of whatever sort, one process has open at a time."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from jobs.kernel.errors import Overloaded

MOST = 600
"""Of the 1,000 connections that a process takes (`deploy.gunicorn`): the others are left to those who ask, or wait for a job."""

MOST_OF_ONE = 500
"""Of one user, or of one address that has no token: so nobody takes them all."""

AGAIN = 5
"""Seconds after which whoever found no place may ask again."""


class Places:
    """Those that are taken, counted for any number of threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken: Counter[object] = Counter()

    def take(self, whose: object) -> None:
        """Raises Overloaded where none is left, or none for `whose` it is to be."""
        with self._lock:
            if self._taken.total() >= MOST or self._taken[whose] >= MOST_OF_ONE:
                raise Overloaded(retry_after=AGAIN)
            self._taken[whose] += 1

    def give_back(self, whose: object) -> None:
        with self._lock:
            self._taken[whose] -= 1
            if not self._taken[whose]:
                del self._taken[whose]
