"""What gunicorn leaves open on the wire: bodies that are broken or never end, and errors that meet no view of ours."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Protocol
from uuid import uuid4

import orjson
import structlog
from gevent import Timeout
from gunicorn import util
from gunicorn.http.body import LengthReader
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestTimeout

from api import headers, problems
from api.flight import aside
from jobs.kernel.errors import BadRequest

SECONDS = 10.0
"""What a body may take to arrive, and BYTES_A_SECOND more for what is announced: a short body would hold a greenlet,
and its place among the connections, until its sender goes away."""

BYTES_A_SECOND = 100_000
LINGER = 1.0
"""Seconds in which what a refused sender still sends is read away: closing on it would take the answer from them."""

log = structlog.get_logger(__name__)

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Body(io.RawIOBase):
    """A request's body. Reading it raises BadRequest where it is broken or ends early, RequestTimeout where it does
    not come."""

    def __init__(self, stream: Readable, length: int | None, environ: Environ) -> None:
        """`length`: what Content-Length announces, in bytes. `environ`: of the request, which is aside while it waits
        for more: a few slow senders would keep everybody else's writes from being accepted."""
        self._environ = environ
        self._stream = stream
        self._missing = length or 0
        self._deadline: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._deadline is None:
            self._deadline = monotonic() + SECONDS + self._missing / BYTES_A_SECOND
        try:
            if _is_here(self._stream, len(buffer)):
                data = self._stream.read(len(buffer))
            else:
                left = max(self._deadline - monotonic(), 0.001)
                with aside(self._environ), Timeout(left, RequestTimeout()):
                    data = self._stream.read(len(buffer))
        except (ParseException, OSError):
            raise _malformed("is not framed as HTTP/1.1 wants it, or ends early") from None
        self._missing -= len(data)
        if len(data) < len(buffer) and self._missing > 0:
            raise _malformed("is shorter than its Content-Length")
        buffer[: len(data)] = data
        return len(data)


def _is_here(stream: Readable, size: int) -> bool:
    """Whether gunicorn has read that much together with the head, as it has for a short body: what needs no waiting
    needs no time-out, which costs more than the reading."""
    reader = getattr(stream, "reader", None)
    return isinstance(reader, LengthReader) and reader.unreader.buf.getbuffer().nbytes >= min(size, reader.length)


def with_bounded_bodies(app: App) -> App:
    """The application, given bodies that end. One that has come with its head has ended."""

    def bounded(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        stream, announced = environ["wsgi.input"], environ.get("CONTENT_LENGTH") or ""
        length = int(announced) if announced.isdecimal() else None
        if length is None or not _is_here(stream, length):
            environ["wsgi.input"] = Body(stream, length, environ)
        return app(environ, start_response)

    return bounded


def write_error(sock: socket.socket, status: int, _reason: str, _message: str) -> None:
    """Answer what gunicorn could not read, or what went wrong outside of any view, like every other error.

    Nothing of what was sent is repeated, here or in the log.
    """
    request_id = uuid4().hex
    log.warning("request_refused", status=status, request_id=request_id)
    util.write_nonblock(sock, response(problems.of_status(status), request_id, {"Connection": "close"}))
    sock.shutdown(socket.SHUT_WR)
    with Timeout(LINGER, False):
        while sock.recv(1 << 16):
            pass


def response(problem: dict[str, Any], request_id: str, more: Mapping[str, str]) -> bytes:
    """A problem as it goes over the wire, for a request that no view has seen."""
    body = orjson.dumps(problem | {"request_id": request_id})
    lines = {
        **more,
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Request-ID": request_id,
        **headers.SECURITY,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {problem['status']} {problem['title']}\r\n{head}\r\n".encode("latin-1") + body


def _malformed(how: str) -> BadRequest:
    return BadRequest(f"The body {how}.", code="malformed_body")
