"""The heart of a worker: a thread that renews the leases held, reaps those of the dead, and bounds an execution."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf

import structlog

from jobs.kernel import broker
from jobs.kernel.command import handles_many
from workers.leases import Delivery, Leases
from workers.registration import Registration
from workers.work import Work

log = structlog.get_logger(__name__)

REGISTRATION_SECONDS = 5
LONGEST = 30.0
"""Seconds for what names no kind of ours."""


class Heart:
    """Beats as long as the process is well: past a batch's time-out it stops, and the process exits."""

    def __init__(self, leases: Leases, registration: Registration | None, lease_seconds: float) -> None:
        self._leases = leases
        self._registration = registration
        self._lease_seconds = lease_seconds
        self._every = min(1.0, lease_seconds / 4)
        self._renew_every = lease_seconds / 3
        self._lock = threading.Lock()
        self._held: list[Delivery] = []
        self._deadline = inf
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
            return list(self._held)

    @contextmanager
    def holding(self, deliveries: Sequence[Delivery]) -> Iterator[None]:
        """Keep leases alive for the length of the block, however it ends."""
        with self._lock:
            self._held = list(deliveries)
        try:
            yield
        finally:
            with self._lock:
                self._held = []

    @contextmanager
    def beating_for(self, works: Sequence[Work]) -> Iterator[None]:
        """Beat while a batch is executed, but not for longer than its kinds allow."""
        self._deadline = time.monotonic() + _time_allowed(works)
        try:
            yield
        finally:
            self._deadline = inf

    def _beat_on(self) -> None:
        duties = (self._renew_leases, self._reap, self._register)
        while True:
            for duty in duties:
                try:
                    duty()
                except broker.LOST:
                    self.missed_redis()
                except Exception as error:  # without a heart nobody would notice what has died
                    log.error("heartbeat_failed", duty=duty.__name__, exc_info=error)
            if self._stopped.wait(self._every):
                return

    def _register(self) -> None:
        if self._registration is not None and time.monotonic() - self._registered >= REGISTRATION_SECONDS:
            self._registration.sign_on()
            self._registered = time.monotonic()

    def _reap(self) -> None:
        """Put back what the dead had; but not soon after Redis was out of reach, when the living had no chance to
        renew their leases either."""
        if time.monotonic() >= self._abstain_until and (reaped := self._leases.reap()):
            log.warning("leases_reaped", jobs=reaped)

    def _renew_leases(self) -> None:
        held, now = self.held(), time.monotonic()
        if now > self._deadline:
            log.error("execution_timed_out", jobs=[delivery.id for delivery in held[:10]])
            os._exit(70)
        if held and now - self._renewed >= self._renew_every:
            self._renewed = now
            lost = self._leases.renew(held) & {delivery.id for delivery in self.held()}
            if lost:
                log.warning("leases_lost", jobs=len(lost))


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
