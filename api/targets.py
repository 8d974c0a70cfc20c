"""Targets: whether what a write names is there for whoever sends it. What is somebody else's is not (CONTRACT.md §1)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, Uuid, any_, bindparam, literal, select

from api.flight import aside
from api.services import services
from api.tokens import Caller

Target = type[Any]
"""A model that has an `owner_id`, as `Command.target` names it."""


def owner_of(target: Target | None) -> Select[UUID] | None:
    """The statement that tells whose the row with this `id` is; None where a kind has no target."""
    if target is None:
        return None
    return select(target.owner_id).where(target.id == bindparam("id"), *_living(target))


def has(target: UUID | None, owner_of: Select[UUID], who: Caller | None) -> bool:
    """Whether it is there for `who`. Raises one of DATABASE_ERRORS."""
    with aside(), services().readers() as session:
        owner = session.execute(owner_of, {"id": target}).scalar_one_or_none()
    return _sees(who, owner)


def seen(target: Target, ids: Collection[UUID], who: Caller) -> set[UUID]:
    """Those of many that are there for `who`. Raises one of DATABASE_ERRORS."""
    with aside(), services().readers() as session:
        asked = target.id == any_(literal(list(ids), ARRAY(Uuid)))
        found = session.execute(select(target.id, target.owner_id).where(asked, *_living(target)))
        return {row for row, owner in found if _sees(who, owner)}


def _living(target: Target) -> tuple[ColumnElement[bool], ...]:
    return (target.deleted_at.is_(None),) if hasattr(target, "deleted_at") else ()


def _sees(who: Caller | None, owner: UUID | None) -> bool:
    return owner is not None and who is not None and who.sees(owner)
