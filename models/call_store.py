"""Calls as workers find and change them: locked one by one or in sets, and counted against what a user, or a number, may have."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Text, Uuid, and_, any_, exists, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from models.call import OPEN, Call, CallEvent, Status
from models.receipt import Receipt
from models.views import call_with_timeline

UNSETTLED = (Status.DIALING, Status.UNKNOWN)
"""What may have been placed, while nobody knows."""


def add(session: Session, **values: Any) -> bool:
    """Add a call, unless its user has an open one to that number: whether it was added."""
    added = insert(Call).values(**values).on_conflict_do_nothing().returning(Call.id)
    return session.execute(added).scalar() is not None


def lock(session: Session, call_id: UUID) -> Call | None:
    """The call, locked until the transaction ends; as it is now, whatever this session has seen of it before."""
    return session.get(Call, call_id, with_for_update=True, populate_existing=True)


def lock_many(session: Session, ids: Collection[UUID], sids: Collection[str]) -> list[Call]:
    """The calls of these ids, and those that the carrier knows by these names, locked in order of their ids."""
    named_so = or_(Call.id == any_(literal(list(ids), ARRAY(Uuid))), Call.sid == any_(literal(list(sids), ARRAY(Text))))
    return list(session.scalars(select(Call).where(named_so).order_by(Call.id).with_for_update()))


def lock_next(session: Session, silent_since: datetime, oldest: datetime) -> Call | None:
    """The open call of which nothing was heard for the longest, and since `silent_since` at least, where the carrier knows it
    or may know it; locked, unless somebody else has it in hand. `oldest`: what was asked before and looked for is left."""
    heard = func.greatest(Call.updated_at, Call.looked_at, Call.asked_at)
    worth_it = or_(Call.asked_at > oldest, Call.looked_at.is_(None))
    perhaps = and_(Call.sid.is_(None), worth_it, Call.asked_at.is_not(None), Call.status.in_(UNSETTLED))
    wanted = select(Call).where(or_(Call.sid.is_not(None), perhaps), Call.status.in_(OPEN), heard < silent_since)
    return session.scalars(wanted.order_by(heard).limit(1).with_for_update(skip_locked=True)).one_or_none()


def lock_left(session: Session, silent_since: datetime, most: int) -> list[tuple[Call, bool]]:
    """Calls that wait to be asked for, and of which nothing was heard since `silent_since` or whose job is over; each with
    whether it is."""
    waiting = (Status.REQUESTED, *UNSETTLED)
    over = exists().where(Receipt.id == Call.id)
    wanted = select(Call, over).where(
        Call.status.in_(waiting),
        Call.asked_at.is_(None),
        Call.sid.is_(None),
        or_(over, func.greatest(Call.updated_at, Call.looked_at) < silent_since),
    )
    found = session.execute(wanted.limit(most).with_for_update(of=Call, skip_locked=True))
    return [(call, is_over) for call, is_over in found]


def add_event(session: Session, call: Call, status: Status, at: datetime, source: str, sequence: int | None) -> bool:
    """Note that a call has had a status: whether that was new."""
    added = insert(CallEvent).values(call_id=call.id, status=status.value, at=at, source=source, sequence=sequence)
    found = session.execute(added.on_conflict_do_nothing().returning(CallEvent.status)).scalar()
    return found is not None


def view(session: Session, call: Call) -> dict[str, Any]:
    """The call as `GET /v1/calls/{id}` shows it."""
    events = session.scalars(select(CallEvent).where(CallEvent.call_id == call.id)).all()
    return call_with_timeline(call, events)


def serialize_counts(session: Session, call: Call) -> None:
    """Let nobody else count, and then dial, for this user or to this number, until the transaction ends."""
    for number in (OF_USERS, OF_NUMBERS):
        whose = str(call.owner_id) if number == OF_USERS else call.phone_number
        session.execute(select(func.pg_advisory_xact_lock(number, func.hashtext(whose))))


def asked_of(session: Session, owner: UUID, since: datetime) -> tuple[int, datetime | None]:
    """How many calls of a user the carrier was asked for since, and the first of those."""
    return _asked(session, Call.owner_id == owner, since)


def asked_to(session: Session, phone_number: str, since: datetime) -> tuple[int, datetime | None]:
    """How many calls to a number the carrier was asked for since, and the first of those."""
    return _asked(session, Call.phone_number == phone_number, since)


def rivals(session: Session, call: Call, within: timedelta) -> int:
    """How many other calls to the same number, asked for at about the same time, nobody knows the carrier's name of."""
    asked_at = call.asked_at or call.created_at
    others = select(func.count()).where(
        Call.phone_number == call.phone_number,
        Call.asked_at.between(asked_at - within, asked_at + within),
        Call.sid.is_(None),
        Call.status != Status.NOT_PLACED,
        Call.id != call.id,
    )
    return session.scalar(others) or 0


def known(session: Session, sids: Iterable[str], *, but: UUID) -> set[str]:
    """Which of the carrier's names are those of other calls."""
    return set(session.scalars(select(Call.sid).where(Call.sid.in_(list(sids)), Call.id != but)))


def _asked(session: Session, whose: Any, since: datetime) -> tuple[int, datetime | None]:
    count, first = session.execute(
        select(func.count(), func.min(Call.asked_at)).where(whose, Call.asked_at > since)
    ).one()
    return count, first


OF_USERS, OF_NUMBERS = 0x4361_6C6C, 0x4361_6C6D  # "Call": numbers that no other advisory lock of ours has
