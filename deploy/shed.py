"""Load shedding: a process that is asked more than it can serve in time refuses the rest at once, before it reads it.

A refusal costs a twentieth of what serving does, so that those who are served are served as fast as ever. A burst is no
overload: only when there has been too much in flight for STEADY seconds is anybody refused. Writes and reads are
counted apart, so that neither, held up by a Redis or a PostgreSQL that hangs, takes the other with it; and whoever
waits for something else than this process is not counted (`api.flight`). Bytes are looked at in `deploy.door`, answers
made in `deploy.refusal`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
import structlog
from gunicorn.http.body import LengthReader
from gunicorn.workers.ggevent import GeventWorker

from config import Settings
from deploy.door import Door
from jobs.kernel.meters import REFUSED
from jobs.kernel.tally import tally

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FLIGHT = "millrace.flight"
"""The name in the environment of what counts the request; `api.flight` knows it too."""

STEADY = 0.25
EASE = 0.05
"""Seconds with less than half of what is too much, after which it is no longer one and the same crowd. Shorter lulls
are in the nature of crowds: those whose calls went to Redis together are answered together, and ask again together."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
READS = tuple(f"{method} ".encode() for method in SAFE)

log = structlog.get_logger(__name__)


class InFlight:
    """Requests of one sort that are being served in this process."""

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        """most: at which number more are refused; 0 for never."""
        self._most = most or sys.maxsize
        self._half = (self._most + 1) // 2
        self._clock = clock
        self._count = 0
        self._since = math.inf
        """Since when the crowd is there that is too much."""

        self._eased = -math.inf
        """When there came to be less than half of what is too much."""

        self.ending = False
        """Whether those are to be let go who would be served for long."""

    def enter(self) -> None:
        """One more is being served."""
        self._count += 1
        if self._count == self._half and self._clock() - self._eased > EASE:
            self._since = math.inf
        if self._count == self._most and self._since == math.inf:
            self._since = self._clock()

    def leave(self) -> None:
        """One less."""
        self._count -= 1
        if self._count == self._half - 1:
            self._eased = self._clock()

    def is_too_much(self) -> bool:
        """Whether one more is to be refused: there are too many, and this has not been a short burst."""
        return self._count >= self._most and self._clock() - self._since > STEADY


class Worker(GeventWorker):
    """gunicorn's gevent worker, with a door to every connection."""

    alive: bool

    def run(self) -> None:
        """Serve until told to stop."""
        from deploy.refusal import Refusals  # it imports the application, which is to come after `post_fork`

        settings = Settings.from_env()
        self._reads, self._writes = InFlight(settings.max_in_flight), InFlight(settings.max_in_flight)
        self._refusals = Refusals(settings)
        self._refused = 0
        self._doors: set[Door] = set()
        served: WSGIApplication = self.wsgi
        self.wsgi: WSGIApplication = self._counted(served)
        gevent.spawn(self._look_around)
        super().run()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection. Which address it came to, it tells itself: the listener may be closed by the time that it is
        served, and gunicorn would cut it off."""
        if self.cfg.is_ssl:
            super().handle(client, client, addr)
            return
        door = Door(client, self, self.cfg.keepalive / 2)
        self._doors.add(door)
        try:
            super().handle(client, door, addr)
        finally:
            self._doors.discard(door)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serve a request; the next byte begins another only where this one was read to its end."""
        super().handle_request(listener_name, req, sock, addr)
        reader = req.body.reader
        if isinstance(sock, Door) and isinstance(reader, LengthReader):
            sock.between = reader.length == 0 and not reader.unreader.buf.getbuffer().nbytes

    def is_too_much(self, begun: bytes) -> bool:
        """Whether a request that begins so comes to an overload."""
        return (self._reads if begun.startswith(READS) else self._writes).is_too_much()

    def refusal(self, head: bytes, *, closes: bool) -> bytes:
        """The answer to a request with this head, which is hereby refused."""
        self._refused += 1
        return self._refusals.answer(head, closes=closes)

    def _counted(self, app: WSGIApplication) -> WSGIApplication:
        def counted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            flight = environ[FLIGHT] = self._reads if environ["REQUEST_METHOD"] in SAFE else self._writes
            flight.enter()
            try:
                return app(environ, start_response)
            finally:
                flight.leave()

        return counted

    def _look_around(self) -> None:
        """Every second, tell how many were refused, because a line for each would cost as much as what is saved; and,
        once told to stop, wait for nobody who is idle or would stay for long."""
        while True:
            gevent.sleep(1)
            if self._refused:
                log.warning("requests_refused", count=self._refused, code="overloaded")
                tally.count(REFUSED, by=self._refused)
                self._refused = 0
            self._reads.ending = self._writes.ending = not self.alive
            for door in [] if self.alive else list(self._doors):
                door.dismiss()
