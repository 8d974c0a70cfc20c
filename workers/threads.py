"""The thread worker: one process that carries out several jobs at once, each in a thread, for jobs that mostly wait for
others.

The main thread takes what there is room for; each thread carries one job out, settles it and makes room. A process that
dies takes all of them along: so what has company counts as no death while alone, and a suspect has none.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from config import Settings
from workers.conductor import Conductor
from workers.follow_ups import follow_up
from workers.leases import Asked, Company, Delivery, Leases
from workers.outside import Services
from workers.report import report
from workers.settle import HandBack, Settlement
from workers.work import opened
from workers.worker import IDLE_SECONDS, Worker

log = structlog.get_logger(__name__)


class ThreadWorker(Worker):
    """Carries out up to `threads` jobs at once."""

    def __init__(
        self, settings: Settings, queues: Sequence[str], threads: int, services: Services | None = None
    ) -> None:
        super().__init__(settings, queues, at_once=threads)
        self._threads = threads
        self._conductor = Conductor(self._sessions, settings, services, self._reports)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="job")
        self._free = [self._leases_apart() for _ in range(threads)]
        self._ended = threading.Condition()
        self._suspects = False
        self._handed_back = False

    def _turn(self) -> None:
        """Take what there is room for."""
        if self._handed_back:
            self._handed_back = False
            self._wait_for_database()
        with self._ended:
            self._ended.wait_for(self._may_take, IDLE_SECONDS)
            room = len(self._free) if self._may_take() else 0
        if room:
            asked, deliveries = self._take(room)
            self._begin(asked, deliveries)

    def _may_take(self) -> bool:
        """Whether there is room: a suspect leaves none."""
        return len(self._free) == self._threads or (bool(self._free) and not self._suspects)

    def _take(self, most: int) -> tuple[Asked, list[Delivery]]:
        """What is queued; where that is nothing, what comes within a second."""
        self._leases.recover()
        company: Company = "shared" if most == self._threads else "ahead"
        asked = self._leases.ask(self._queues, most, company)
        if not (deliveries := self._leases.taken(asked)):
            asked = self._leases.ask(self._queues, most, company, within=IDLE_SECONDS)
            deliveries = self._leases.taken(asked)
        return asked, deliveries

    def _begin(self, asked: Asked, deliveries: Sequence[Delivery]) -> None:
        """Give each job a thread; or hand them back, where somebody has asked to stop meanwhile."""
        if self._stopping.is_set():
            self._leases.settle([Settlement(delivery, HandBack()) for delivery in deliveries])
            return
        self._suspects = any(delivery.suspect for delivery in deliveries)
        for delivery in deliveries:
            with self._ended:
                leases = self._free.pop()
            self._pool.submit(self._carry_out, leases, delivery, asked.at)

    def _carry_out(self, leases: Leases, delivery: Delivery, since: float) -> None:
        """One job, in a thread. `leases`: to settle by, this thread's as long as it takes. What cannot be is the end of the
        process, as it is where the main thread meets it."""
        try:
            self._one(leases, delivery, since)
        except BaseException as error:  # nobody else would hear of it
            log.critical("process_died", exc_info=error)
            self._counting.add()
            os._exit(70)
        with self._ended:
            self._free.append(leases)
            self._ended.notify_all()

    def _one(self, leases: Leases, delivery: Delivery, since: float) -> None:
        works, started = [opened(delivery)], time.monotonic()
        with self._heart.holding([delivery], since) as hold:
            with self._heart.beating_for(works):
                settlements = self._conductor.run(works[0], hold.ours)
            took = time.monotonic() - started
            self._make_sure(leases, leases.tell(settlements), settlements)
        report(works, settlements, self.name, took)
        follow_up(self._submitter, settlements)
        if all(isinstance(settlement.verdict, HandBack) for settlement in settlements):
            self._handed_back = True

    def _leave(self) -> None:
        """Let all that was begun come to its end, and hand back what was taken in a reply that never came."""
        with self._ended:
            self._ended.wait_for(lambda: len(self._free) == self._threads)
        self._leases.recover()
