"""Load shedding: a process that is asked more than it can serve in time refuses the rest at once, before it reads it.

A refusal costs a twentieth of what serving does, so that those who are served are served as fast as ever. A burst is no
overload: only when there has been too much in flight for STEADY seconds is anybody refused. Writes and reads are
counted apart, so that neither, held up by a Redis or a PostgreSQL that hangs, takes the other with it; and whoever
waits for something else than this process is not counted (`api.flight`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
import structlog
from gunicorn.http.body import LengthReader
from gunicorn.workers.ggevent import GeventWorker

from config import Settings
from jobs.kernel.errors import Overloaded

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FLIGHT = "millrace.flight"
"""The name in the environment of what counts the request; `api.flight` knows it too."""

STEADY = 0.25
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
READS = tuple(f"{method} ".encode() for method in SAFE)
LONGEST = 64 * 1024
"""Bytes of a request that is read in order to be refused; a longer one is served, or refused, as it comes."""

UNREFUSED = (b"GET /healthz ", b"GET /readyz ")
NOT_PLAIN = re.compile(
    rb"\r\n(?:transfer-encoding|expect|upgrade|connection(?!:[ \t]*keep-alive[ \t]*\r\n))|\n[ \t]|[^\r]\n",
    re.IGNORECASE,
)
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,7})[ \t]*\r\n", re.IGNORECASE)
REQUEST_ID = re.compile(rb"\r\nx-request-id:[ \t]*([A-Za-z0-9._-]{1,128})[ \t]*\r\n", re.IGNORECASE)
REQUEST_LINE = re.compile(rb"[A-Z]+ /[^ \r\n]* HTTP/1\.1\r\n")

NOBODYS = b"0" * 32
"""Stands for the id of a request that brought none."""

log = structlog.get_logger(__name__)


class InFlight:
    """Requests of one sort that are being served in this process."""

    def __init__(self, most: int) -> None:
        """most: at which number more are refused; 0 for never."""
        self._most = most
        self._count = 0
        self._since = self._last = 0.0

    def enter(self) -> None:
        """One more is being served."""
        self._count += 1

    def leave(self) -> None:
        """One less."""
        self._count -= 1

    def is_too_much(self) -> bool:
        """Whether one more is to be refused: there are too many, and have been again and again for some time."""
        if not 0 < self._most <= self._count:
            return False
        now = monotonic()
        if now - self._last > STEADY:
            self._since = now
        self._last = now
        return now - self._since > STEADY


class Door:
    """A client's socket, at which whole requests are turned away while there is too much in flight."""

    def __init__(self, client: Any, refuse: Callable[[bytes], bytes | None]) -> None:
        """refuse: the answer to a request that begins with these bytes; None where it is to be served."""
        self._client = client
        self._refuse = refuse
        self.between = True
        """Whether the next byte is the first of a request."""

        self.recv_into = client.recv_into
        self.sendall, self.send = client.sendall, client.send

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def recv(self, size: int) -> bytes:
        """What a socket would give, less the requests that were refused."""
        data: bytes = self._client.recv(size)
        while self.between and data and (answer := self._refuse(data)):
            data = self._whole(data)
            if not is_plain(data):
                break
            self.sendall(answer)
            data = self._client.recv(size)
        self.between = False
        return data

    def _whole(self, data: bytes) -> bytes:
        """The request that begins so, as far as it is refused; more of it than that is not read."""
        while len(data) < LONGEST and (missing := _missing(data)):
            more: bytes = self._client.recv(missing)
            if not more:
                break
            data += more
        return data


def is_plain(data: bytes) -> bool:
    """Whether this is one request that can be refused unparsed, because there is no doubt where it ends."""
    head, found, body = data.partition(b"\r\n\r\n")
    head += b"\r\n"
    if not found or not REQUEST_LINE.match(head) or NOT_PLAIN.search(head) or head.startswith(UNREFUSED):
        return False
    lengths = LENGTH.findall(head)
    if len(lengths) != head.lower().count(b"content-length"):
        return False
    return len(lengths) <= 1 and len(body) == sum(map(int, lengths))


def _missing(data: bytes) -> int:
    """How many bytes at most are still to come of the request that begins so; 0 where that cannot be told."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return LONGEST - len(data)
    length = LENGTH.search(head + b"\r\n")
    return max(0, int(length[1]) - len(body)) if length else 0


def overloaded(request_id: str) -> bytes:
    """The answer to a request that is refused unread; its connection stays open."""
    from deploy.wire import response  # it imports the application, which is to come after `post_fork`

    refusal = Overloaded()
    return response(refusal.problem(), request_id, refusal.headers)


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker, with a door."""

    def run(self) -> None:
        """Serve until told to stop."""
        self._anonymous = overloaded(NOBODYS.decode())
        most = Settings.from_env().max_in_flight
        self._reads, self._writes = InFlight(most), InFlight(most)
        self._refused = 0
        served: WSGIApplication = self.wsgi
        self.wsgi: WSGIApplication = self._counted(served)
        gevent.spawn(self._tell)
        super().run()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection."""
        super().handle(listener, client if self.cfg.is_ssl else Door(client, self._refuse), addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serve a request; the next byte begins another only where this one was read to its end."""
        super().handle_request(listener_name, req, sock, addr)
        reader = req.body.reader
        if isinstance(sock, Door) and isinstance(reader, LengthReader):
            sock.between = reader.length == 0 and not reader.unreader.buf.getbuffer().nbytes

    def _counted(self, app: WSGIApplication) -> WSGIApplication:
        def counted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            flight = environ[FLIGHT] = self._reads if environ["REQUEST_METHOD"] in SAFE else self._writes
            flight.enter()
            try:
                return app(environ, start_response)
            finally:
                flight.leave()

        return counted

    def _refuse(self, data: bytes) -> bytes | None:
        """The answer that refuses a request which begins so, where it is to be refused."""
        flight = self._reads if data.startswith(READS) else self._writes
        if not flight.is_too_much() or data.startswith(UNREFUSED):
            return None
        self._refused += 1
        asked = REQUEST_ID.search(data.partition(b"\r\n\r\n")[0] + b"\r\n")
        if asked:
            return overloaded(asked[1].decode())
        return self._anonymous.replace(NOBODYS, os.urandom(16).hex().encode())

    def _tell(self) -> None:
        """One line a second, because one for each would cost as much as what is saved."""
        while True:
            gevent.sleep(1)
            if self._refused:
                log.warning("requests_refused", count=self._refused, code="overloaded")
                self._refused = 0
