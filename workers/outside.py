"""What is outside: the services that a conducted job asks, and what it is given to work with (jobs/kernel/ports.py)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from config import Settings
from jobs.kernel import broker, keys
from jobs.kernel.context import Context
from jobs.kernel.errors import Conflict, QueueDown
from jobs.kernel.ports import CARRIER, EVENT_SINK, Carrier, LeaseLost, Permit, Sink, Unreached
from jobs.kernel.rerun import DeadLetter, Rerun, Rerunner
from workers import gate, sink

CALLING = frozenset({"hangups", "calls"})
"""Queues whose kinds ask the carrier."""


class Gate(Protocol):
    """Where leave is given to ask one service; for any number of threads at once."""

    def enter(self, *, turn: str | None = None) -> AbstractContextManager[Permit]:
        """See `jobs.kernel.ports.Outside.enter`."""


@dataclass(frozen=True)
class Services:
    """`carrier`: None where no account is. `gates`: by the names of their circuits. `redis`: where jobs are, and `rerunner`, who
    runs failed ones again. `sink`: None where none is configured."""

    carrier: Carrier | None = None
    gates: Mapping[str, Gate] = field(default_factory=dict)
    redis: Redis | None = None
    sink: Sink | None = None
    rerunner: Rerunner | None = None


def services(settings: Settings, queues: Collection[str]) -> Services:
    """The services that these settings name, for one process that takes from these queues."""
    redis = broker.connect(settings.redis_url)
    gates = {
        CARRIER: gate.Gate(redis, settings, CARRIER, rate=settings.calls_per_second),
        EVENT_SINK: gate.Gate(
            redis,
            settings,
            EVENT_SINK,
            rate=None,
            pause=settings.event_sink_open_seconds,
            longest=1,
            permit=settings.event_sink_timeout_seconds + 2,
        ),
    }
    return Services(_carrier(settings, queues), gates, redis, sink.sink(settings), Rerunner(redis, settings))


def _carrier(settings: Settings, queues: Collection[str]) -> Carrier | None:
    if CALLING.isdisjoint(queues):
        return None
    from workers import twilio  # the SDK takes as long to load as all the rest, and few workers need it

    return twilio.carrier(settings)


class Outside:
    """`jobs.kernel.ports.Outside`, for one execution. `transaction`: begins one. `ours`: whether its lease cannot be another
    worker's yet."""

    def __init__(
        self,
        settings: Settings,
        services: Services,
        transaction: Callable[[], AbstractContextManager[Context]],
        ours: Callable[[], bool],
    ) -> None:
        self.settings = settings
        self.transaction = transaction
        self._services = services
        self._ours = ours

    @property
    def carrier(self) -> Carrier:
        """Raises Conflict (`calls_not_configured`) where no account is."""
        if self._services.carrier is None:
            raise Conflict("No calls can be placed here.", code="calls_not_configured")
        return self._services.carrier

    @property
    def sink(self) -> Sink:
        """Raises Unreached where none is configured."""
        if self._services.sink is None:
            raise Unreached("is not configured where events are delivered from")
        return self._services.sink

    def enter(self, circuit: str, *, turn: str | None = None) -> AbstractContextManager[Permit]:
        """Leave to ask a service, for the length of a block. Raises Snooze, and what Redis raises."""
        return self._services.gates[circuit].enter(turn=turn)

    def rerun(self, letters: Sequence[DeadLetter]) -> list[Rerun]:
        """Run failed jobs again, which can be. Raises RedisConnectionError where Redis does not answer, or there is none."""
        if self._services.rerunner is None:
            raise RedisConnectionError
        try:
            return self._services.rerunner.rerun(letters)
        except QueueDown as lost:  # what goes on outside is handed back for it, and not tried again by policy
            raise RedisConnectionError from lost

    def known(self, job_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the jobs that are in Redis. Where nobody can be asked, all may be. Raises what Redis raises."""
        if self._services.redis is None or not job_ids:
            return set(job_ids)
        pipe = self._services.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.exists(keys.job(job_id))
        return {job_id for job_id, there in zip(job_ids, pipe.execute(), strict=True) if there}

    def insist(self) -> None:
        """Raises LeaseLost where the lease may be another worker's by now."""
        if not self._ours():
            raise LeaseLost
