"""The lease worker: one process that reserves a batch, has it executed, and settles it, again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence

from config import Settings
from workers.follow_ups import follow_up
from workers.leases import Asked, Delivery
from workers.pace import Pace
from workers.pipeline import Call
from workers.report import report
from workers.settle import HandBack, Settlement
from workers.work import opened
from workers.worker import IDLE_SECONDS, Worker


class LeaseWorker(Worker):
    """Carries out batches, of at most `batch` jobs in one transaction."""

    def __init__(self, settings: Settings, queues: Sequence[str], batch: int) -> None:
        super().__init__(settings, queues)
        self._pace = Pace(batch)
        self._ahead: Asked | None = None
        self._telling: tuple[Call, list[Settlement]] | None = None

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
                self._ahead = self._leases.ask(self._queues, self._pace.size, "ahead")
            started = time.monotonic()
            with self._heart.beating_for(works):
                settlements = self._executor.run(works)
            took = time.monotonic() - started
            self._confirm()
            self._telling = (self._leases.tell(settlements), settlements)
        report(works, settlements, self.name, took)
        follow_up(self._submitter, settlements)
        self._pace.learn(len(works), took)
        if all(isinstance(settlement.verdict, HandBack) for settlement in settlements):
            self._leave()
            self._wait_for_database()

    def _next(self) -> list[Delivery]:
        """What was asked for ahead, and what there is where that was nothing."""
        asked, self._ahead = self._ahead, None
        deliveries = self._leases.taken(asked) if asked else []
        return deliveries or self._leases.reserve(self._queues, self._pace.size)

    def _confirm(self) -> None:
        """Make sure that Redis has been told of the last batch."""
        if self._telling is not None:
            (call, settlements), self._telling = self._telling, None
            self._make_sure(self._leases, call, settlements)

    def _leave(self) -> None:
        """Have everything told, and hand back what was taken ahead."""
        self._confirm()
        asked, self._ahead = self._ahead, None
        if asked and (deliveries := self._leases.taken(asked)):
            self._leases.settle([Settlement(delivery, HandBack()) for delivery in deliveries])
