"""Targets: whether what a write names is there for whoever sends it. What is somebody else's is not (CONTRACT.md §1)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Uuid, any_, bindparam, literal, select

from api.flight import aside
from api.services import services
from api.tokens import Caller

Target = type[Any]
"""A model that has an `owner_id`, as `Command.target` names it, which may be nobody's; and says which of its rows are `there`."""


def owner_of(target: Target | None) -> Select[UUID | None] | None:
    """The statement that tells whose the row with this `id` is; None where a kind has no target."""
    if target is None:
        return None
    return select(target.owner_id).where(target.id == bindparam("id"), target.there())


def has(target: UUID | None, owner_of: Select[UUID | None], who: Caller | None) -> bool:
    """Whether it is there for `who`. Raises one of DATABASE_ERRORS."""
    with aside(), services().readers() as session:
        row = session.execute(owner_of, {"id": target}).one_or_none()
    return row is not None and who is not None and who.sees(row[0])


def seen(target: Target, ids: Collection[UUID], who: Caller) -> set[UUID]:
    """Those of many that are there for `who`. Raises one of DATABASE_ERRORS."""
    with aside(), services().readers() as session:
        asked = target.id == any_(literal(list(ids), ARRAY(Uuid)))
        found = session.execute(select(target.id, target.owner_id).where(asked, target.there()))
        return {row for row, owner in found if who.sees(owner)}
