"""Requests in flight: a server that counts them, in order to refuse what is too much (`deploy.shed`), is told of those that wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from flask import request

FLIGHT = "millrace.flight"
"""The name in the environment of what counts the request, where anything does."""


class Flight(Protocol):
    """Those who are being served."""

    def enter(self) -> None: ...

    def leave(self) -> None: ...


@contextmanager
def aside() -> Iterator[None]:
    """For the length of a block, in which this request only waits, and keeps this process from nothing."""
    flight: Flight | None = request.environ.get(FLIGHT)
    if flight is None:
        yield
        return
    flight.leave()
    try:
        yield
    finally:
        flight.enter()
