"""Calls, and what has become of each."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Instant, Key


class Status(StrEnum):
    """What a client sees as a call's `status` (CONTRACT.md §5), in the order in which a call can pass them."""

    REQUESTED = "requested"
    DIALING = "dialing"
    UNKNOWN = "unknown"
    QUEUED = "queued"
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    CANCELED = "canceled"
    NOT_PLACED = "not_placed"

    @property
    def final(self) -> bool:
        return self in FINAL

    @property
    def rank(self) -> int:
        """How far a call of this status has come; all final ones are equally far."""
        return RANKS[self]

    def follows(self, earlier: Status) -> bool:
        """Whether a call goes on from `earlier` to this: forwards only, and nowhere from where it has ended."""
        return not earlier.final and self.rank > earlier.rank


FINAL = frozenset({
    Status.COMPLETED,
    Status.BUSY,
    Status.NO_ANSWER,
    Status.FAILED,
    Status.CANCELED,
    Status.NOT_PLACED,
})  # fmt: skip
OPEN = tuple(status for status in Status if status not in FINAL)
RANKS = {status: min(place, len(OPEN)) for place, status in enumerate(Status)}


def named(statuses: tuple[Status, ...]) -> str:
    """SQL for a list of statuses."""
    return ", ".join(f"'{status.value}'" for status in statuses)


class Call(Base):
    """A call. Its id is the id of the job that places it.

    `asked_at`: when the provider was last asked to place it; null where it was not, or has said no. Together with no
    `sid` it means that nobody knows whether the call was placed: then it is never asked again. `asks`: how often it was.
    `guessed`: its `sid` was found in a list of the carrier's, and not told. `looked_at`: when the provider was last asked what became of it. `missed_at`: when that first found nothing.
    `ended_by`: the job that last asked the provider to end it. `reason`: a sentence on why it failed, or is open still. `duration`: seconds. `version` counts what a client can see.
    """

    __tablename__ = "calls"

    id: Mapped[Key]
    owner_id: Mapped[UUID]
    phone_number: Mapped[str]
    customer_name: Mapped[str]
    workflow: Mapped[str]
    status: Mapped[str]
    sid: Mapped[str | None]
    guessed: Mapped[bool] = mapped_column(server_default="false")
    reason: Mapped[str | None]
    duration: Mapped[int | None]
    answered_by: Mapped[str | None]
    asks: Mapped[int] = mapped_column(server_default="0")
    asked_at: Mapped[Instant | None]
    looked_at: Mapped[Instant | None]
    missed_at: Mapped[Instant | None]
    ended_by: Mapped[UUID | None]
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[Instant]
    updated_at: Mapped[Instant]

    __table_args__ = (
        CheckConstraint(f"status IN ({named(tuple(Status))})", name="status"),
        # one call of a user to a number at a time, whatever anybody does at the same moment
        Index(
            "uq_calls_open",
            "owner_id",
            "phone_number",
            unique=True,
            postgresql_where=text(f"status IN ({named(OPEN)})"),
        ),
        # whose it is what the carrier tells; that it gives each name once is its own affair
        Index("ix_calls_sid", "sid"),
        # a user's list, newest first, by keyset; and an admin's
        Index("ix_calls_owner", "owner_id", "created_at", "id"),
        Index("ix_calls_created", "created_at", "id"),
        # everybody's of one status, for who looks after those that are unknown
        Index("ix_calls_status", "status", "created_at", "id"),
        # how many calls a user has had placed, and how many went to a number, since
        Index("ix_calls_owner_asked", "owner_id", "asked_at", postgresql_where=text("asked_at IS NOT NULL")),
        Index("ix_calls_number_asked", "phone_number", "asked_at", postgresql_where=text("asked_at IS NOT NULL")),
        # what is to be reconciled
        Index("ix_calls_open", "updated_at", postgresql_where=text(f"status IN ({named(OPEN)})")),
    )


class CallEvent(Base):
    """One status that a call has had; a call has each at most once, so that what is told twice changes nothing.

    `at`: when it came to it, by whoever knew it. `source`: `worker`, `callback` or `reconciliation`. `sequence`: the
    provider's number of the callback.
    """

    __tablename__ = "call_events"

    call_id: Mapped[Key]
    status: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[Instant]
    source: Mapped[str]
    sequence: Mapped[int | None]
