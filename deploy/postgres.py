"""psycopg2 among greenlets: who waits for PostgreSQL gives way to others, and does not wait for ever."""

from __future__ import annotations

from time import monotonic

from gevent.socket import wait_read, wait_write
from psycopg2 import OperationalError, extensions

SECONDS = 2.0
"""What one statement, or one connecting, may take: a server that hangs keeps its connections open and says nothing.
A create then goes on without its look, and a read answers 503 (CONTRACT.md §1)."""


def install() -> None:
    """Let every connection of this process wait so. psycopg2 closes the connection of a wait that raises, by which
    SQLAlchemy knows that it is lost, and with it all that its pool holds."""
    extensions.set_wait_callback(_wait)


def _wait(connection: extensions.connection) -> None:
    """Source: https://www.psycopg.org/docs/advanced.html#support-for-coroutine-libraries"""
    deadline = monotonic() + SECONDS
    while (state := connection.poll()) != extensions.POLL_OK:
        wait = {extensions.POLL_READ: wait_read, extensions.POLL_WRITE: wait_write}[state]
        left = max(deadline - monotonic(), 0.001)
        wait(connection.fileno(), timeout=left, timeout_exc=OperationalError("PostgreSQL did not answer in time"))
