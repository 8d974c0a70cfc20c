"""The life of a worker process, whatever way it works: signals, the heart, waiting for its servers, and the end.

Shutdown, read aloud: take no more, finish what is in hand, settle it, leave. What is not done in time is handed back to
the front of its queue, and the process exits.
"""

from __future__ import annotations

import atexit
import gc
import os
import secrets
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import FrameType

import structlog

from config import Settings
from jobs.kernel import broker
from jobs.kernel.counting import Counting
from jobs.kernel.submit import Submitter
from models.session import writer
from workers.executor import Executor
from workers.heart import Heart
from workers.leases import Delivery, Leases
from workers.pipeline import Call
from workers.progress import Progress
from workers.registration import Registration
from workers.settle import HandBack, Settlement

log = structlog.get_logger(__name__)

GRACE_SECONDS = 20
"""From SIGTERM to handing back what is not done; the process is gone within 25 s (CONTRACT.md §9)."""

IDLE_SECONDS = 1

GARBAGE = 50_000
"""Objects made between two looks for cycles among them; a batch of hundreds makes as many, and hardly a cycle."""


class Worker(ABC):
    """Works for as long as nobody asks it to stop. `at_once`: how many transactions it may have open."""

    def __init__(self, settings: Settings, queues: Sequence[str], *, at_once: int = 2) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._settings = settings
        self._queues = list(queues)
        self._stopping = threading.Event()
        self._leases = Leases(broker.connect(settings.redis_url, timeout=IDLE_SECONDS + 2), settings, self.name)
        self._sessions = writer(
            settings.write_database_url or settings.database_url,
            lease_seconds=settings.lease_seconds,
            connections=at_once,
        )
        redis = broker.connect(settings.redis_url)
        self._reports = Progress(redis).of
        self._executor = Executor(self._sessions, settings, self._reports)
        self._submitter = Submitter(redis, settings)
        self._registration = Registration(redis, self._queues, self.name)
        self._counting = Counting(redis)
        self._heart = Heart(self._leases_apart(), self._registration, settings.lease_seconds, self._counting)

    @abstractmethod
    def _turn(self) -> None:
        """Do a part of the work, again and again; may raise what Redis raises."""

    @abstractmethod
    def _leave(self) -> None:
        """Have everything told that was done, and hand back what was taken and not begun."""

    def run(self) -> None:
        """Work until asked to stop by SIGTERM, SIGINT or `stop`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        self._heart.start()
        atexit.register(self._counting.add)
        gc.collect()
        gc.freeze()  # what is there now stays, and need not be looked through again for garbage
        gc.set_threshold(GARBAGE)
        log.info("worker_started", worker=self.name, queues=self._queues)
        while not self._stopping.is_set():
            self._try(self._turn)
        self._try(self._leave)
        self._heart.stop()
        log.info("worker_stopped", worker=self.name)

    def stop(self) -> None:
        """Take no more; finish what is in hand."""
        if not self._stopping.is_set():
            self._stopping.set()
            threading.Thread(target=self._give_up_later, daemon=True, name="grace").start()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except broker.LOST as lost:
            self._heart.missed_redis()
            log.warning("queue_unavailable", error=type(lost).__name__)
            self._stopping.wait(0.2)
        except broker.ResponseError as refusal:
            log.error("queue_refused", error=str(refusal))
            self._stopping.wait(1)

    def _leases_apart(self) -> Leases:
        """This worker's leases, over a connection of its own: for another thread."""
        return Leases(broker.connect(self._settings.redis_url), self._settings, self.name)

    def _make_sure(self, leases: Leases, call: Call, settlements: Sequence[Settlement]) -> None:
        """Make sure that Redis has been told, however long it is away: what was committed is true already, and a
        lease that runs out meanwhile only means that another worker tells it."""
        while True:
            try:
                leases.told(call)
                return
            except broker.LOST:
                self._heart.missed_redis()
            except broker.ResponseError as refusal:
                log.error("queue_refused", error=str(refusal))
            if self._stopping.is_set():
                return
            time.sleep(0.2)
            call = leases.tell(settlements)

    def _wait_for_database(self) -> None:
        """Take nothing while it is away: what stays queued is known to be no further than that."""
        while not self._stopping.wait(0.5) and not self._executor.database_answers():
            pass

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop()

    def _give_up_later(self) -> None:
        time.sleep(GRACE_SECONDS)
        held: list[Delivery] = self._heart.held()
        log.warning("worker_gave_up", worker=self.name, jobs=len(held))
        try:
            self._leases_apart().settle([Settlement(delivery, HandBack(in_doubt=True)) for delivery in held])
            self._counting.add()
        finally:
            os._exit(1)
