"""A change of processes, in which nobody who asks is turned away or cut off.

gunicorn, on SIGHUP, starts new workers and tells the old ones to leave in the same moment; but a new one takes seconds to
import the application, and for so long nobody would let anybody in. And a worker that leaves would cut off whoever has
connected and was not let in yet, where it is the last to listen.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import monotonic, sleep

from gevent.server import StreamServer
from gunicorn.arbiter import Arbiter
from gunicorn.workers import ggevent
from gunicorn.workers.base import Worker

READY_WITHIN = 20.0
"""Seconds that new workers are given before the old ones leave all the same; until then the arbiter heeds no signal."""

_manage_workers = Arbiter.manage_workers


def install() -> None:
    """In an arbiter, before its first worker."""
    Arbiter.manage_workers = manage_workers
    ggevent.StreamServer = Listener


def ready(worker: Worker) -> None:
    """In a worker: say that it serves from now on, by the one thing that it shares with its arbiter alone: the file by
    whose time it shows that it is alive, which is empty till then."""
    os.write(worker.tmp.fileno(), b"!")


def manage_workers(arbiter: Arbiter) -> None:
    """Start workers where there are too few; where there are too many, tell the oldest to leave, once the others serve."""
    deadline = monotonic() + READY_WITHIN
    while _hasty(arbiter) and monotonic() < deadline:
        sleep(0.05)
        arbiter.reap_workers()
    _manage_workers(arbiter)


def _hasty(arbiter: Arbiter) -> bool:
    """Whether some would be told to leave while some of those who stay do not serve yet."""
    by_age = sorted(arbiter.WORKERS.values(), key=lambda worker: -worker.age)
    stay, leave = by_age[: arbiter.num_workers], by_age[arbiter.num_workers :]
    return bool(leave) and any(not os.fstat(worker.tmp.fileno()).st_size for worker in stay)


class Listener(StreamServer):
    """Where connections come in."""

    def close(self) -> None:
        """Listen no more, and let in who has connected until now; whoever connects between the two last steps is cut off,
        which is why nothing else comes between them."""
        if not self.closed:
            self.stop_accepting()
            with suppress(OSError):  # no descriptor is left, say: it is to be closed all the same
                while not self.full() and (came := self.do_read()):
                    self.do_handle(*came)
            self.socket.close()
        super().close()
