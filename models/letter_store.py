"""Dead letters as PostgreSQL has them: receipts of failed jobs that nobody has discarded. Lists of them walk ix_receipts_dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, func, null, select, tuple_, update
from sqlalchemy.orm import Session

from models.receipt import Receipt

Place = tuple[datetime, UUID]
"""Where a letter stands among all: when its job failed, and its id."""

Letter = Row[*tuple[Any, ...]]

MOST_BYTES = 1 << 20
"""Of envelopes, as they are stored, that are read at once; or one, however large it is."""

COLUMNS = (
    Receipt.id,
    Receipt.kind,
    Receipt.owner_id,
    Receipt.run,
    Receipt.attempts,
    Receipt.fingerprint,
    Receipt.resource,
    Receipt.submitted_at,
    Receipt.run_at,
    Receipt.started_at,
    Receipt.finished_at,
    Receipt.error,
    Receipt.discarded_at,
)
BY_AGE = (Receipt.finished_at, Receipt.id)


@dataclass(frozen=True, slots=True)
class Which:
    """Which dead letters: those that fit all that is given. `code`: of the error; `failed_after`: at this time or later."""

    kind: str | None = None
    code: str | None = None
    failed_after: datetime | None = None
    failed_before: datetime | None = None
    ids: Sequence[UUID] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found = [Receipt.there()]
        if self.kind is not None:
            found.append(Receipt.kind == self.kind)
        if self.code is not None:
            found.append(Receipt.error["code"].astext == self.code)
        if self.failed_after is not None:
            found.append(Receipt.finished_at >= self.failed_after)
        if self.failed_before is not None:
            found.append(Receipt.finished_at < self.failed_before)
        if self.ids is not None:
            found.append(Receipt.id.in_(self.ids))
        return found


def one(job_id: UUID) -> Select[Any]:
    """The letter of a job that has failed, discarded or not."""
    return select(*COLUMNS, Receipt.envelope).where(Receipt.id == job_id, Receipt.state == "failed")


def newest(which: Which, before: Place | None, most: int) -> Select[Any]:
    """A page of them, newest first, without their envelopes."""
    wanted = select(*COLUMNS, null().label("envelope")).where(*which.conditions())
    if before is not None:
        wanted = wanted.where(tuple_(*BY_AGE) < tuple_(*before))
    return wanted.order_by(Receipt.finished_at.desc(), Receipt.id.desc()).limit(most)


def oldest(session: Session, which: Which, after: Place | None, most: int) -> list[Letter]:
    """The next of them, oldest first, with their envelopes: `most` at most, and no more than can be held in memory."""
    size = func.coalesce(func.pg_column_size(Receipt.envelope), 0)
    sizes = select(Receipt.id, (func.sum(size).over(order_by=BY_AGE) - size).label("before")).where(*which.conditions())
    if after is not None:
        sizes = sizes.where(tuple_(*BY_AGE) > tuple_(*after))
    among = sizes.order_by(*BY_AGE).limit(most).subquery()
    wanted = select(*COLUMNS, Receipt.envelope).join(among, among.c.id == Receipt.id).where(among.c.before < MOST_BYTES)
    return list(session.execute(wanted.order_by(*BY_AGE)))


def count(session: Session, which: Which) -> int:
    return session.scalar(select(func.count()).select_from(Receipt).where(*which.conditions())) or 0


def discard(session: Session, which: Which, at: datetime, most: int) -> int:
    """Take some of them off their list, for good; how many. What somebody else has in hand is left, for that gives way just
    now to what its next run has come to."""
    some = select(Receipt.id).where(*which.conditions()).order_by(*BY_AGE).limit(most).with_for_update(skip_locked=True)
    gone = update(Receipt).where(Receipt.id.in_(some)).values(discarded_at=at, envelope=null())
    return len(session.execute(gone.returning(Receipt.id)).all())
