"""The heart of a worker: a thread that renews the leases held, reaps those of the dead, bounds an execution, and adds up what
the process counts."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog

from jobs.kernel import broker
from jobs.kernel.command import handles_many
from jobs.kernel.counting import Counting
from jobs.kernel.meters import HEARTBEATS, LOST, TIMEOUTS, known
from jobs.kernel.tally import tally
from workers.leases import Delivery, Leases
from workers.registration import Registration
from workers.work import Work

log = structlog.get_logger(__name__)

REGISTRATION_SECONDS = 5
LONGEST = 30.0
"""Seconds for what names no kind of ours."""


class Hold:
    """Leases that are held together. `since`: by the monotonic clock, when they were surely taken, or renewed, no earlier."""

    def __init__(self, deliveries: Sequence[Delivery], since: float, lease_seconds: float) -> None:
        self.deliveries = list(deliveries)
        self._since = since
        self._lease_seconds = lease_seconds
        self._lost = False

    def ours(self) -> bool:
        """Whether they cannot be another worker's yet."""
        return not self._lost and time.monotonic() - self._since < self._lease_seconds

    def older(self, at: float) -> bool:
        """Whether they may have been taken, or renewed, before `at`, and are still to be renewed."""
        return not self._lost and self._since < at

    def renewed(self, at: float, lost: set[str]) -> None:
        """They were renewed after `at`, but for those `lost`."""
        if lost and any(delivery.id in lost for delivery in self.deliveries):
            self._lost = True
        else:
            self._since = at


@dataclass(frozen=True, eq=False)
class Execution:
    """What is being executed, and until when it may be."""

    works: Sequence[Work]
    deadline: float


class Heart:
    """Beats as long as the process is well: past the time-out of what it executes it stops, and the process exits."""

    def __init__(
        self, leases: Leases, registration: Registration | None, lease_seconds: float, counting: Counting | None = None
    ) -> None:
        self._leases = leases
        self._registration = registration
        self._counting = counting
        self._lease_seconds = lease_seconds
        self._every = min(1.0, lease_seconds / 4)
        self._renew_every = lease_seconds / 3
        self._lock = threading.Lock()
        self._holds: list[Hold] = []
        self._executions: list[Execution] = []
        self._renewed = self._registered = self._abstain_until = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, daemon=True, name="heart")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Beat no more, and sign off."""
        self._stopped.set()
        self._thread.join(timeout=2)
        if self._registration is not None:
            with suppress(*broker.LOST):
                self._registration.sign_off()

    def missed_redis(self) -> None:
        """Somebody could not reach Redis: leases may have expired for want of heartbeats."""
        self._abstain_until = time.monotonic() + self._lease_seconds

    def held(self) -> list[Delivery]:
        with self._lock:
            return [delivery for hold in self._holds for delivery in hold.deliveries]

    @contextmanager
    def holding(self, deliveries: Sequence[Delivery], since: float | None = None) -> Iterator[Hold]:
        """Keep leases alive for the length of the block, however it ends. Any number of threads may hold some.

        `since`: when they were asked for, by the monotonic clock; by default, now.
        """
        hold = Hold(deliveries, time.monotonic() if since is None else since, self._lease_seconds)
        with self._lock:
            self._holds.append(hold)
        try:
            yield hold
        finally:
            with self._lock:
                self._holds.remove(hold)

    @contextmanager
    def beating_for(self, works: Sequence[Work]) -> Iterator[None]:
        """Beat while a batch is executed, but not for longer than its kinds allow; of several, each has a time of its own."""
        execution = Execution(works, time.monotonic() + _time_allowed(works))
        with self._lock:
            self._executions.append(execution)
        try:
            yield
        finally:
            with self._lock:
                self._executions.remove(execution)

    def _beat_on(self) -> None:
        duties = (self._renew_leases, self._reap, self._register, self._add_up)
        while True:
            for duty in duties:
                try:
                    duty()
                except broker.LOST:
                    tally.count(HEARTBEATS, duty.__name__.strip("_"))
                    self.missed_redis()
                except Exception as error:  # without a heart nobody would notice what has died
                    log.error("heartbeat_failed", duty=duty.__name__, exc_info=error)
            if self._stopped.wait(self._every):
                return

    def _register(self) -> None:
        if self._registration is not None and time.monotonic() - self._registered >= REGISTRATION_SECONDS:
            self._registration.sign_on()
            self._registered = time.monotonic()

    def _add_up(self) -> None:
        if self._counting is not None:
            self._counting.add()

    def _reap(self) -> None:
        """Put back what the dead had; but not soon after Redis was out of reach, when the living had no chance to
        renew their leases either."""
        if time.monotonic() >= self._abstain_until and (reaped := self._leases.reap()):
            log.warning("leases_reaped", jobs=reaped)

    def _renew_leases(self) -> None:
        now = time.monotonic()
        with self._lock:
            holds, late = list(self._holds), [one for one in self._executions if now > one.deadline]
        if late:
            log.error("execution_timed_out", jobs=[work.delivery.id for one in late for work in one.works][:10])
            for kind in {known(work.kind)[0] for one in late for work in one.works}:
                tally.count(TIMEOUTS, kind)
            self._add_up()
            os._exit(70)
        due = now - self._renew_every
        if holds and (self._renewed <= due or any(hold.older(due) for hold in holds)):
            lost = self._leases.renew([delivery for hold in holds for delivery in hold.deliveries])
            self._renewed = now
            for hold in holds:
                hold.renewed(now, lost)
            if gone := [delivery for delivery in self.held() if delivery.id in lost]:
                log.warning("leases_lost", jobs=len(gone))
                for queue, jobs in Counter(delivery.queue for delivery in gone).items():
                    tally.count(LOST, queue, by=jobs)


def _time_allowed(works: Sequence[Work]) -> float:
    """Seconds a batch may take: a set that is handled in one go is one execution, what is handled one by one is many."""
    allowed: dict[str, float] = {}
    for work in works:
        command = work.command
        one_go = command is not None and handles_many(type(command))
        allowed[command.kind if command and one_go else work.delivery.id] = (
            command.policy.timeout if command else LONGEST
        )
    return sum(allowed.values())
