"""Places for streams: how many of them, of whatever sort, one process has open at a time."""

from __future__ import annotations

from threading import Lock

from jobs.kernel.errors import Overloaded

MOST = 600
"""Of the 1,000 connections that a process takes (`deploy.gunicorn`): the others are left to those who ask, or wait for a job."""

AGAIN = 5
"""Seconds after which whoever found no place may ask again."""


class Places:
    """Those that are taken, counted for any number of threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken = 0

    def take(self) -> None:
        """Raises Overloaded where none is left."""
        with self._lock:
            if self._taken >= MOST:
                raise Overloaded(retry_after=AGAIN)
            self._taken += 1

    def give_back(self) -> None:
        with self._lock:
            self._taken -= 1
