"""What a handler may use: passed in, so that a handler reaches for nothing by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from config import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """One transaction's worth of the world.

    `session`: open transaction; the executor commits it. `now`: the worker's clock, UTC, one value per transaction.
    `roles`: of everyone who sent one of the jobs, as they are now.
    """

    session: Session
    settings: Settings
    now: datetime
    roles: Mapping[UUID, str]

    def is_admin(self, user: UUID | None) -> bool:
        return user is not None and self.roles.get(user) == "admin"
