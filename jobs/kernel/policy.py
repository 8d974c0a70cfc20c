"""How jobs of a kind are treated: who may send them, where they queue, how often they are tried."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

QUEUES: dict[str, Literal["batch", "threads"]] = {
    "orders": "batch",
    "tasks": "batch",
    "events": "batch",
    "users": "batch",
    "default": "batch",
    "hangups": "threads",
    "calls": "threads",
    "deliveries": "threads",
}
"""Every queue there is, and the way its workers work (DESIGN.md §4)."""


class Priority(StrEnum):
    """When a job is taken: before, with, or after the rest of its queue. In the order in which workers take."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    def lane(self, queue: str) -> str:
        """The list of a queue that its jobs of this priority wait in."""
        return queue if self is Priority.NORMAL else f"{queue}.{self}"


class Access(StrEnum):
    """Who may send a command or read a resource.

    `HOLDER`: a user; and without a token whoever holds the id of what was submitted without one. `OPERATOR`: the service
    itself, and whoever works at its command line; never anybody over HTTP.
    """

    ANYONE = "anyone"
    HOLDER = "holder"
    USER = "user"
    ADMIN = "admin"
    OPERATOR = "operator"

    def admits(self, role: str | None) -> bool:
        """Whether someone of `role` (None: not signed in) passes."""
        match self:
            case Access.ANYONE:
                return True
            case Access.HOLDER | Access.USER:
                return role is not None
            case Access.ADMIN:
                return role == "admin"
            case Access.OPERATOR:
                return role is None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit beside the caller's own. `setting`: the one that holds it, in Flask-Limiter's notation. `by`: what is counted
    apart: the client's `address`, the `caller`, or an attribute of what is sent. `per_job`: counted where a job is made of
    a request, in the step that makes it; so the same request again, under its key, counts nothing. Else each request
    counts, before anything else is done for it."""

    setting: str
    by: str
    per_job: bool = False


FAR = 64
"""Doublings, after which any cap is reached; many more could not be counted any longer."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential back-off with full jitter.

    `attempts`: executions in all. `base`, `cap`: seconds.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    attempts: int = 5
    base: float = 1.0
    cap: float = 300.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base <= 0 or self.cap < self.base:
            raise ValueError("Retry needs attempts >= 1 and 0 < base <= cap")

    def delay(self, attempt: int) -> float | None:
        """Seconds to wait after the `attempt`-th execution (from 1) raised; None when no more are left."""
        if attempt >= self.attempts:
            return None
        return random.uniform(0, min(self.cap, self.base * 2 ** min(attempt - 1, FAR)))  # noqa: S311 - jitter, not a secret


@dataclass(frozen=True, slots=True)
class Policy:
    """What a family of kinds has in common. `timeout`: seconds one execution may take. `limits`: the caller's own comes on
    top. `in_session`: it is refused once something has ended all
    sessions of its sender since: whoever had got hold of one cannot have it carried out later."""

    queue: str
    access: Access = Access.USER
    limits: tuple[RateLimit, ...] = ()
    in_session: bool = False
    retry: Retry = field(default_factory=Retry)
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.queue not in QUEUES:
            raise ValueError(f"queue {self.queue!r} is none of {', '.join(QUEUES)}")
        if self.timeout <= 0:
            raise ValueError("timeout needs to be more than 0 seconds")
