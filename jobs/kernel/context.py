"""What a handler may use: passed in, so that a handler reaches for nothing by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from config import Settings
from jobs.kernel.effects import scope

Report = Callable[[UUID, int, int], None]
"""Tells of a job how many of its items are done, and how many it has. Raises Cancelled, to be let pass, where somebody has
asked for the job to stop."""


def nobody(job_id: UUID, done: int, total: int) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class Context:
    """One transaction's worth of the world.

    `session`: open transaction; the executor commits it. `now`: the worker's clock, UTC, one value per transaction.
    `roles`: of everyone who sent one of the jobs, as they are now. `report`: tells whoever polls a job how far it has come;
    as often as one likes. `drops`: what `drop` was told.
    """

    session: Session
    settings: Settings
    now: datetime
    roles: Mapping[UUID, str]
    report: Report = nobody
    drops: set[str] = field(default_factory=set)

    def is_admin(self, user: UUID | None) -> bool:
        return user is not None and self.roles.get(user) == "admin"

    def drop(self, domain: str, owner: UUID) -> None:
        """Something of an owner's changes that is not the owner's of the job, or not in this domain: what reads have kept of it
        is dropped with the commit. In `handle_many`, the outcomes say so, each for itself."""
        self.drops.add(scope(domain, owner))
