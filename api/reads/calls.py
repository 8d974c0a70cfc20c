"""Calls, read: a list by keyset, one by its id with its timeline, and the stream of what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Literal
from uuid import UUID

import orjson
from flask import Flask, Response
from pydantic import Field
from sqlalchemy import Select, select, text

from api import terms
from api.access import answers, caller, id_of, lasts
from api.documented import EventsOf, documented
from api.reads.conditional import tagged
from api.reads.pages import ListQuery, at, in_order, moment_and_id, page, position
from api.schemas import Call as CallShape
from api.schemas import CallPage, CallSummary
from api.services import services
from api.streams import Follower, Snapshot
from api.tokens import Caller
from jobs.calls import Workflow
from jobs.kernel.errors import NotFound
from jobs.kernel.policy import Access
from models import Call, CallEvent, views
from models.call import Status
from models.session import Sessions

LATER = select(Call).from_statement(
    text(
        """
        SELECT calls.* FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS int[])) AS known(id, version)
        JOIN calls ON calls.id = known.id AND calls.version > known.version
        """
    )
)


class CallQuery(ListQuery):
    """What the list of calls can be asked."""

    sort: Literal["-created_at", "created_at"] = Field("-created_at", description="newest first, or oldest first")
    status: Status | None = Field(None, description="only calls that have this status now")
    workflow: Workflow | None = Field(None, description="only calls of this workflow")


def register(app: Flask) -> None:
    app.add_url_rule("/v1/calls", "calls.list", many, methods=["GET"])
    app.add_url_rule("/v1/calls/<id>", "calls.get", one, methods=["GET"])
    app.add_url_rule("/v1/calls/<id>/events", "calls.events", events, methods=["GET"])


@answers(cached=True)
@documented(
    "List calls", description="Your own, newest first; an admin sees everyone's.", response=CallPage, query=CallQuery
)
def many() -> Response:
    """One page of the caller's calls."""
    query, secret = terms.query(CallQuery), services().settings.secret_key
    after = position(query, secret)
    statement = _list(caller(), query, moment_and_id(after) if after else None)
    with services().readers() as session:
        rows = session.scalars(statement).all()
    shown = page(rows, query, secret, show=views.call, place=lambda row: at(row.created_at, row.id))
    return Response(orjson.dumps(shown), content_type="application/json")


@answers(cached=True)
@documented("Read a call", description="With every status that it has had.", response=CallShape, conditional=True)
def one(id: str) -> Response:
    """One call of the caller's, or any for an admin; in one statement, so that its timeline is that of its version."""
    call_id, had = id_of(id), CallEvent.call_id == Call.id
    with services().readers() as session:
        rows = session.execute(select(Call, CallEvent).outerjoin(CallEvent, had).where(Call.id == call_id)).all()
    if not rows or not caller().sees(rows[0][0].owner_id):
        raise NotFound
    call = rows[0][0]
    shown = views.call_with_timeline(call, filter(None, (event for _, event in rows)))
    return tagged(orjson.dumps(shown), views.etag(call.version))


@answers()
@documented(
    "Follow a call",
    description="Server-Sent Events: `event: status`, `id:` the version of the call, `data:` the call as lists show it. The "
    "present state comes at once, then every later one, and a comment every 15 seconds; it ends after a final state, and "
    "with the session or its access token. With `Last-Event-ID`, the present state comes if it is newer; 204 where nothing will.",
    response=EventsOf(CallSummary),
    others={204: None},
    takes=("LastEventId",),
)
def events(id: str) -> Response:
    """The stream of one call of the caller's, or of any for an admin."""
    call_id, who = id_of(id), caller()
    with services().readers() as session:
        row = session.scalars(select(Call).where(Call.id == call_id)).one_or_none()
    if row is None or not who.sees(row.owner_id):
        raise NotFound
    follower = Follower(who.expires, partial(lasts, services().limits, who))
    return services().call_streams.response(row.id, _snapshot(row), follower)


def later(readers: Sessions, known: Mapping[UUID, int]) -> dict[UUID, Snapshot]:
    """Those of the calls that have changed since they were of the version that is known. One statement."""
    given = {"ids": [str(call_id) for call_id in known], "versions": list(known.values())}
    with readers() as session:
        return {row.id: _snapshot(row) for row in session.scalars(LATER, given)}


def _snapshot(row: Call) -> Snapshot:
    return Snapshot(row.version, orjson.dumps(views.call(row)), Status(row.status).final)


def _list(who: Caller, query: CallQuery, after: tuple[datetime, UUID] | None) -> Select[Call]:
    """The page's statement, with one row too many. It walks ix_calls_owner, or for an admin ix_calls_created."""
    statement = select(Call).limit(query.limit + 1)
    if not Access.ADMIN.admits(who.role):
        statement = statement.where(Call.owner_id == who.id)
    if query.status is not None:
        statement = statement.where(Call.status == query.status)
    if query.workflow is not None:
        statement = statement.where(Call.workflow == query.workflow)
    return in_order(statement, Call.created_at, Call.id, after, newest_first=query.sort.startswith("-"))
