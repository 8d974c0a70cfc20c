"""Requests in flight: a server that counts them, in order to refuse what is too much (`deploy.shed`), is told of those that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from flask import request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

FLIGHT = "millrace.flight"
"""The name in the environment of what counts the request, where anything does."""


class Flight(Protocol):
    """Those who are being served."""

    ending: bool
    """Whether the server has been told to stop, so that who is served for long is to be let go."""

    def enter(self) -> None: ...

    def leave(self) -> None: ...


@contextmanager
def aside(environ: WSGIEnvironment | None = None) -> Iterator[None]:
    """For the length of a block, in which a request only waits, and keeps this process from nothing.

    environ: its environment, where it is another than that of the request which Flask is at."""
    flight: Flight | None = (request.environ if environ is None else environ).get(FLIGHT)
    if flight is None:
        yield
        return
    flight.leave()
    try:
        yield
    finally:
        flight.enter()


def ending() -> Callable[[], bool]:
    """What tells, also when the present request has left Flask, whether the server that serves it has been told to stop."""
    flight: Flight | None = request.environ.get(FLIGHT)
    return lambda: flight is not None and flight.ending
