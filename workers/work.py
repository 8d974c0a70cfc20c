"""Work: one delivery, opened. What a batch is made of on its way through the executor."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from jobs.kernel.command import KIND, Command
from jobs.kernel.effects import drops_of
from jobs.kernel.envelope import Job, load, open_command
from jobs.kernel.errors import AppError, Failed
from jobs.kernel.outcome import Again, Done, Outcome, State, failed
from jobs.kernel.ports import Conclusion
from jobs.kernel.times import micros
from workers.leases import Delivery
from workers.settle import Final, HandBack, Settlement

CRASHES_TO_DEATH = 3
"""Workers that may die with a job, alone, before it is a dead letter."""


@dataclass(slots=True)
class Work:
    """A delivery; the job in it, where it could be read; and its outcome, as soon as that is known. `conclusion`: the last
    step of a job that was conducted, still to be taken. `report_at`: when its progress may be told next, by the monotonic clock.
    `drops`: what its context was told to drop."""

    delivery: Delivery
    envelope: dict[str, Any] | None = None
    job: Job[Any] | None = None
    outcome: Outcome | None = None
    resource: str | None = None
    conclusion: Conclusion | None = None
    report_at: float = 0.0
    drops: set[str] = field(default_factory=set)

    @property
    def id(self) -> UUID:
        return self.delivery.job_id

    @property
    def kind(self) -> str:
        """The kind it asks for, known or not."""
        if self.job is not None:
            return str(self.job.command.kind)
        named = (self.envelope or {}).get("kind")
        return named if isinstance(named, str) and KIND.fullmatch(named) else "unknown"

    @property
    def request_id(self) -> str | None:
        """Of the request that sent it."""
        named = (self.envelope or {}).get("request_id")
        return named if isinstance(named, str) else None

    @property
    def kept_envelope(self) -> dict[str, Any] | None:
        """The envelope as a receipt keeps it, with the effective moment, where that is not when the job was submitted."""
        moment = self.delivery.moment
        if self.envelope is None or moment == self.delivery.submitted_at:
            return self.envelope
        return self.envelope | {"moment": micros(moment)}

    @property
    def is_withdrawn(self) -> bool:
        """Whether a worker has had it before, and it is over without having been carried out, because somebody asked."""
        outcome = self.outcome
        return isinstance(outcome, Done) and outcome.state is State.CANCELED and self.delivery.canceled_at is None

    def ended(self, at: datetime) -> datetime:
        """When it came to its end. `at`: when its outcome was decided."""
        return self.delivery.canceled_at or at

    def sign(self) -> None:
        """Name the request in the error that the outcome holds, as every problem does; and in its effects what was dropped."""
        if not isinstance(self.outcome, Done):
            return
        if self.outcome.error is not None:
            self.outcome.error["request_id"] = self.request_id
        if self.drops:
            self.outcome = self.outcome._replace(effects=drops_of(self.drops, self.outcome.effects))

    def settled(self, verdict: Final | Again | HandBack) -> Settlement:
        """What is told to Redis of it."""
        return Settlement(self.delivery, verdict, self.kind, self.drops)

    def outlived(self, session_version: int | None) -> bool:
        """Whether all sessions of its sender, whose row has this version now, were ended since it was sent in one."""
        return self.job is not None and self.job.session_version not in (None, session_version)

    @property
    def command(self) -> Command | None:
        return self.job.command if self.job else None


def opened(delivery: Delivery) -> Work:
    """Read a delivery. What cannot be read, is not ours, or has killed its workers, has failed already; and what was canceled
    before any worker had it, is."""
    work = Work(delivery)
    try:
        work.envelope = load(delivery.data)
        work.job = _job(delivery, work.envelope)
        work.resource = work.job.resource
        if delivery.crashes >= CRASHES_TO_DEATH:
            raise Failed(f"The worker died {delivery.crashes} times while it ran this job.", code="worker_crashed")
    except AppError as failure:
        work.outcome = failed(failure)
    if delivery.canceled_at is not None:
        work.outcome = Done(State.CANCELED)
    return work


def _job(delivery: Delivery, envelope: dict[str, Any]) -> Job[Any]:
    command = open_command(envelope)
    target, if_match, version = (envelope.get(name) for name in ("target", "if_match", "session_version"))
    try:
        return Job(
            id=delivery.job_id,
            command=command,
            owner=delivery.owner,
            moment=delivery.moment,
            target=UUID(target) if target else None,
            if_match=tuple(if_match) if if_match is not None else None,
            session_version=int(version) if version is not None else None,
            run=delivery.run,
            attempt=delivery.attempt,
            waits=delivery.waits,
        )
    except (ValueError, TypeError, AttributeError) as broken:
        raise Failed("The job cannot be read.", code="job_unreadable") from broken
