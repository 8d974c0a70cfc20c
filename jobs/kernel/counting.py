"""Counting: what this process counts is added, every second or so, to what is counted of all processes together.

What Redis does not take is kept, as much as a tally holds, and added when it answers again, no more than once. What is lost is
the last second of a process that is killed.
"""

from __future__ import annotations

import atexit
import os
import secrets
from pathlib import Path
from threading import Event, Lock, Thread

import structlog
from redis import Redis
from structlog.contextvars import clear_contextvars

from jobs.kernel import broker
from jobs.kernel.scripts import script
from jobs.kernel.tally import Tally, tally

EVERY = 1.0
"""Seconds between two additions."""

log = structlog.get_logger(__name__)


class Counting:
    """Adds up what a tally has noted. A process that is forked off begins with a name of its own."""

    def __init__(self, redis: Redis, notes: Tally = tally) -> None:
        self._add = script(redis, Path(__file__).with_name("count.lua"))
        self._notes = notes
        self._adding = Lock()
        self._unsent: list[str | int] = []
        self._number = self._process = self._going = 0
        self._name = ""
        self._stopped = Event()
        self._away = False

    def add(self) -> None:
        """Add what was noted by now. Raises nothing."""
        with self._adding:
            if self._process != os.getpid():
                self._process, self._name, self._unsent = os.getpid(), secrets.token_hex(8), []
            if not self._unsent or self._sent():
                self._take()
                self._sent()

    def go_on(self) -> None:
        """See that it is added every second from now on, and at the end: for a process that has nothing that beats. To be
        called whenever something was noted, because it may have been forked off since."""
        if self._going == os.getpid():
            return
        with self._adding:
            if self._going != os.getpid():
                self._going, self._stopped = os.getpid(), Event()
                atexit.register(self.add)
                self._thread = Thread(target=self._every_second, args=(self._stopped,), name="counting", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Go on no more."""
        if self._going == os.getpid():
            self._stopped.set()
            self._thread.join()
            atexit.unregister(self.add)
            self._going = 0

    def _every_second(self, stopped: Event) -> None:
        clear_contextvars()  # those of the request that came first
        while not stopped.wait(EVERY):
            self.add()

    def _take(self) -> None:
        self._number += 1
        self._unsent = [part for pair in self._notes.take().items() for part in pair]

    def _sent(self) -> bool:
        """Whether what is there to be sent was; what was sent before, and not answered, is told apart by its number."""
        if not self._unsent:
            return True
        try:
            self._add(args=[self._name, self._number, *self._unsent])
        except (*broker.LOST, broker.ResponseError) as error:
            if not self._away:
                log.warning("meters_not_added", error=type(error).__name__)
            self._away = True
            return False
        self._unsent, self._away = [], False
        return True
