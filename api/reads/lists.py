"""Lists of what PostgreSQL keeps: each is one declaration, and one function answers them all (CONTRACT.md §1)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import orjson
from flask import Response
from pydantic import Field
from sqlalchemy import ColumnElement, DateTime, Executable, Select, asc, desc, func, select, tuple_, union_all
from sqlalchemy.orm import InstrumentedAttribute

from api import terms
from api.access import caller
from api.cache import changes_by_itself
from api.reads.pages import ListQuery, NumberedQuery, Position, QueryTime, at, page, position
from api.services import services
from jobs.kernel.policy import Access
from jobs.kernel.times import from_micros
from models import Call, Event, Order, Task, User

Row = TypeVar("Row", Call, Event, Order, Task, User)
Column = InstrumentedAttribute[Any]
Condition = ColumnElement[bool]
Filters = Mapping[str, Callable[[Any], Condition]]

ByTime = Annotated[Literal["-created_at", "created_at"], Field(description="newest first, or oldest first")]
CreatedAfter = Annotated[QueryTime | None, Field(description="only what was created at this time or later")]
CreatedBefore = Annotated[QueryTime | None, Field(description="only what was created before this time")]


def between(name: str, column: Column) -> Filters:
    """The filters `<name>_after` and `<name>_before`: a half-open interval."""
    return {f"{name}_after": column.__ge__, f"{name}_before": column.__lt__}


def own(owner: Column) -> list[Condition]:
    """What there is for the caller: what is theirs, and everything for an admin."""
    who = caller()
    return [] if Access.ADMIN.admits(who.role) else [owner == who.id]


@dataclass(frozen=True, slots=True)
class Listing(Generic[Row]):
    """What can be listed, and how.

    `query`: what a client may ask; its `sort` names a column, with `-` in front for downwards. `filters`: what each of its
    other parameters asks of a row; those that are `fleeting` ask for what changes with time. `owner`: whose a row is; where
    it is nobody's, the list is for admins. `among`: what is listed at all. Raises TypeError where a parameter has no
    filter, or a filter no parameter.
    """

    model: type[Row]
    query: type[ListQuery]
    show: Callable[[Row], dict[str, Any]]
    owner: Column | None
    filters: Filters = field(default_factory=dict)
    among: tuple[Condition, ...] = ()
    fleeting: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        asked = self.query.model_fields.keys() - NumberedQuery.model_fields.keys() - {"sort"}
        if apart := asked ^ self.filters.keys():
            raise TypeError(f"{self.query.__name__} and its filters differ in {', '.join(sorted(apart))}")

    def answer(self, *within: Condition) -> Response:
        """One page of what there is for the caller, narrowed to what they ask for and to `within`. One statement; where the
        page has a number, one more that counts. Raises Invalid."""
        query, secret = terms.query(self.query), services().settings.secret_key
        asked, place = vars(query), position(query, secret)
        by, down = getattr(self.model, asked["sort"].removeprefix("-")), asked["sort"].startswith("-")
        if any(asked[name] is not None for name in self.fleeting):
            changes_by_itself()
        narrowed = (ask(asked[name]) for name, ask in self.filters.items() if asked[name] is not None)
        wanted = select(self.model).where(*self.among, *within, *narrowed)
        if self.owner is not None:
            wanted = wanted.where(*own(self.owner))
        with services().readers() as session:
            rows = session.scalars(self._page(self._runs(wanted, by, down, place), by, down, query)).all()
            counted = wanted.with_only_columns(func.count(), maintain_column_froms=True)
            total = session.scalar(counted) if query.number else None
        shown = page(
            rows, query, secret, show=self.show, place=lambda row: at(getattr(row, by.key), row.id), total=total
        )
        return Response(orjson.dumps(shown), content_type="application/json")

    def _runs(self, wanted: Select[Row], by: Column, down: bool, place: Position | None) -> list[Select[Row]]:
        """The rows by a column, then by id, and of them those after a position (keyset pagination). Where the column may be
        empty, two runs, each of which an index has in order: what is empty comes last, upwards and downwards."""
        key, way, beyond = self.model.id, desc if down else asc, operator.lt if down else operator.gt
        ordered = wanted.order_by(way(by), way(key))
        runs = [ordered.where(by.is_not(None)), ordered.where(by.is_(None))] if by.expression.nullable else [ordered]
        if place is not None:
            value, row_id = place[0], UUID(hex=place[1])
            if value is None:
                return [runs[-1].where(beyond(key, row_id))]
            value = from_micros(value) if isinstance(by.type, DateTime) else value
            runs[0] = runs[0].where(beyond(tuple_(by, key), tuple_(value, row_id)))
        return runs

    def _page(self, runs: list[Select[Row]], by: Column, down: bool, query: ListQuery) -> Executable:
        """What stands on the page, with one row too many."""
        before, most = query.limit * (query.number - 1) if query.number else 0, query.limit + 1
        if len(runs) == 1:
            return runs[0].offset(before).limit(most)
        way, joined = desc if down else asc, union_all(*(run.limit(before + most) for run in runs))
        joined = joined.order_by(way(by.key).nulls_last(), way("id")).offset(before).limit(most)
        return select(self.model).from_statement(joined)
