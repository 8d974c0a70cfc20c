"""The event sink: where events are delivered to as well, over HTTP, each under its own id (CONTRACT.md §7).

One request, one connection: so a kept one that the other side has just closed is never taken for an answer that was lost.
By the standard library alone, which follows no redirect, asks no proxy, keeps no cookie, tries nothing twice and logs nothing.
An answer is its status: who has said that has decided, and what stands behind it may be missing.

Source of the header, and of 409 while the first request with a key is still being carried out:
https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from socket import SHUT_RDWR, socket
from threading import Timer
from time import monotonic
from urllib.parse import urlsplit
from uuid import UUID

from config import Settings
from jobs.kernel.ports import Lost, Refused, Sink, Trouble, Unreached
from models.views import ident

CONNECT_SECONDS = 3.05
MOST_READ = 4096
"""Bytes of what an answer says beside its status: nobody looks at them, but most servers like to have said them."""

HEADERS = {"Content-Type": "application/json", "User-Agent": "Millrace", "Connection": "close"}

REFUSALS = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""Answers about what was sent: it will never be another, and so neither will they.

All else that is no 2xx is about the sink, or about now, and is tried again: 3xx, 404, 405, 410 and 421 are another's address,
401, 403 and 407 a key that is missing, 408, 409, 425, 429 and 5xx say so themselves; and what nobody has heard of says nothing.
"""

BROKEN = (OSError, HTTPException, ValueError)
"""What comes of no answer, or of one that is none; ValueError, of TLS that is hung up on in the middle of it."""


def sink(settings: Settings) -> Sink | None:
    """The sink of these settings; None where they name none."""
    return HttpSink(settings) if settings.event_sink_url else None


class HttpSink:
    """The port to the sink at EVENT_SINK_URL. Any number of threads share it."""

    def __init__(self, settings: Settings) -> None:
        url = urlsplit(settings.event_sink_url)
        self._host, self._port = url.hostname or "", url.port
        self._target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._seconds = settings.event_sink_timeout_seconds

    def deliver(self, event_id: UUID, body: bytes) -> None:
        """See `jobs.kernel.ports.Sink`. Takes EVENT_SINK_TIMEOUT_SECONDS at most; longer only where the sink has several
        addresses, and none of them is reached."""
        status = self._answer({**HEADERS, "Idempotency-Key": ident(event_id)}, body)
        if status in REFUSALS:
            raise Refused(status, f"The event sink refuses it: it answered {status}.")
        if not 200 <= status < 300:
            raise Trouble(f"answered {status}")

    def _answer(self, headers: dict[str, str], body: bytes) -> int:
        """The status of the answer. Raises Unreached, Lost."""
        began, connection = monotonic(), self._connection()
        try:
            with _hanging_up(self._connected(connection), began + self._seconds - monotonic()):
                connection.request("POST", self._target, body, headers)
                response = connection.getresponse()
                with suppress(*BROKEN):
                    response.read(MOST_READ)
                return response.status
        except BROKEN as error:
            raise Lost("gave no answer") from error
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        patience = min(CONNECT_SECONDS, self._seconds)
        if self._tls is None:
            return HTTPConnection(self._host, self._port, timeout=patience)
        return HTTPSConnection(self._host, self._port, timeout=patience, context=self._tls)

    def _connected(self, connection: HTTPConnection) -> socket:
        """The connection, made. Raises Unreached: nothing was asked."""
        try:
            connection.connect()
        except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one
            raise Unreached("could not be reached") from error
        made: socket = connection.sock
        made.settimeout(self._seconds)
        return made


@contextmanager
def _hanging_up(connection: socket, seconds: float) -> Iterator[None]:
    """Hang up after so many seconds, whatever the block waits for then: a time-out of the socket's own begins anew with every
    byte."""

    def hang_up() -> None:
        with suppress(OSError):
            socket.shutdown(connection, SHUT_RDWR)  # not TLS's own, which would let go of its keys before

    timer = Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
