"""The catalogue for those who look at it all the time: migrations fill it, so that it hardly ever changes."""

from __future__ import annotations

from time import monotonic
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, select
from sqlalchemy.orm import Session

from models.order import Service

SECONDS = 5.0
"""For how long what was read is believed."""

_known: WeakKeyDictionary[Engine | Connection, tuple[float, frozenset[str]]] = WeakKeyDictionary()


def codes(session: Session, *, anew: bool = False) -> frozenset[str]:
    """The codes of all services, as they were at most SECONDS ago; `anew`: as they are."""
    database = session.get_bind()
    read_at, known = _known.get(database, (float("-inf"), frozenset()))
    if anew or monotonic() - read_at > SECONDS:
        known = frozenset(session.scalars(select(Service.code)))
        _known[database] = monotonic(), known
    return known
