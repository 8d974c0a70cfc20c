"""The lease worker: one process that reserves a batch, has it executed, and settles it, again and again.

Shutdown, read aloud: take no more, finish the batch in hand, settle it, leave. What is not done in time is handed
back to the front of its queue, and the process exits.
"""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

import structlog

from config import Settings
from jobs.kernel import broker
from models.session import writer
from workers.executor import Executor
from workers.heart import Heart
from workers.leases import Asked, Delivery, Leases
from workers.pace import Pace
from workers.pipeline import Call
from workers.registration import Registration
from workers.report import report
from workers.settle import HandBack, Settlement
from workers.work import opened

log = structlog.get_logger(__name__)

GRACE_SECONDS = 20
"""From SIGTERM to handing back what is not done; the process is gone within 25 s (CONTRACT.md §9)."""

IDLE_SECONDS = 1

GARBAGE = 50_000
"""Objects made between two looks for cycles among them; a batch of hundreds makes as many, and hardly a cycle."""


class LeaseWorker:
    """Works for as long as nobody asks it to stop."""

    def __init__(self, settings: Settings, queues: Sequence[str], batch: int) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._settings = settings
        self._queues = list(queues)
        self._batch = batch
        self._pace = Pace(batch)
        self._ahead: Asked | None = None
        self._telling: tuple[Call, list[Settlement]] | None = None
        self._stopping = threading.Event()
        redis = broker.connect(settings.redis_url, timeout=IDLE_SECONDS + 2)
        self._leases = Leases(redis, settings, self.name)
        self._executor = Executor(
            writer(settings.write_database_url or settings.database_url, lease_seconds=settings.lease_seconds), settings
        )
        self._registration = Registration(broker.connect(settings.redis_url), self._queues, self.name)
        beating = Leases(broker.connect(settings.redis_url), settings, self.name)
        self._heart = Heart(beating, self._registration, settings.lease_seconds)

    def run(self) -> None:
        """Work until asked to stop by SIGTERM, SIGINT or `stop`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        self._heart.start()
        gc.collect()
        gc.freeze()  # what is there now stays, and need not be looked through again for garbage
        gc.set_threshold(GARBAGE)
        log.info("worker_started", worker=self.name, queues=self._queues, batch=self._batch)
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

    def _turn(self) -> None:
        """One batch. Under backlog, Redis gives the next and settles the last while this one is carried out."""
        deliveries = self._next()
        if not deliveries:
            self._confirm()
            self._ahead = self._leases.ask(self._queues, self._pace.size, within=IDLE_SECONDS)
            return
        works = [opened(delivery) for delivery in deliveries]
        with self._heart.holding(deliveries):
            if self._pace.full(len(works)) and self._pace.brisk and not deliveries[0].suspect:
                self._ahead = self._leases.ask(self._queues, self._pace.size, ahead=True)
            started = time.monotonic()
            with self._heart.beating_for(works):
                settlements = self._executor.run(works)
            took = time.monotonic() - started
            self._confirm()
            self._telling = (self._leases.tell(settlements), settlements)
        report(works, settlements, self.name, took)
        self._pace.learn(len(works), took)
        if all(isinstance(settlement.verdict, HandBack) for settlement in settlements):
            self._leave()
            self._wait_for_database()

    def _wait_for_database(self) -> None:
        """Take nothing while it is away: what stays queued is known to be no further than that."""
        while not self._stopping.wait(0.5) and not self._executor.database_answers():
            pass

    def _next(self) -> list[Delivery]:
        """What was asked for ahead, and what there is where that was nothing."""
        asked, self._ahead = self._ahead, None
        deliveries = self._leases.taken(asked) if asked else []
        return deliveries or self._leases.reserve(self._queues, self._pace.size)

    def _confirm(self) -> None:
        """Make sure that Redis has been told, however long it is away: what was committed is true already, and a
        lease that runs out meanwhile only means that another worker tells it."""
        if self._telling is None:
            return
        (call, settlements), self._telling = self._telling, None
        while True:
            try:
                self._leases.told(call)
                return
            except broker.LOST:
                self._heart.missed_redis()
            except broker.ResponseError as refusal:
                log.error("queue_refused", error=str(refusal))
            if self._stopping.is_set():
                return
            time.sleep(0.2)
            call = self._leases.tell(settlements)

    def _leave(self) -> None:
        """Have everything told, and hand back what was taken ahead."""
        self._confirm()
        asked, self._ahead = self._ahead, None
        if asked and (deliveries := self._leases.taken(asked)):
            self._leases.settle([Settlement(delivery, HandBack()) for delivery in deliveries])

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop()

    def _give_up_later(self) -> None:
        time.sleep(GRACE_SECONDS)
        held: list[Delivery] = self._heart.held()
        log.warning("worker_gave_up", worker=self.name, jobs=len(held))
        try:
            leases = Leases(broker.connect(self._settings.redis_url), self._settings, self.name)
            leases.settle([Settlement(delivery, HandBack(in_doubt=True)) for delivery in held])
        finally:
            os._exit(1)
