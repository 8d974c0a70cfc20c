"""Calls, read: a list by keyset, one by its id with its timeline, and the stream of what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from uuid import UUID

import orjson
from flask import Flask, Response
from pydantic import Field
from sqlalchemy import select, text

from api.access import answers, caller, id_of, lasts
from api.call_schemas import Call as CallShape
from api.call_schemas import CallPage, CallSummary
from api.documented import EventsOf, documented
from api.following import Snapshot
from api.reads.conditional import tagged
from api.reads.lists import ByTime, Listing
from api.reads.pages import ListQuery
from api.services import services
from api.streams import Follower
from jobs.calls import Workflow
from jobs.kernel.errors import NotFound
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

    sort: ByTime = "-created_at"
    status: Status | None = Field(None, description="only calls that have this status now")
    workflow: Workflow | None = Field(None, description="only calls of this workflow")


# walks ix_calls_owner, or for an admin ix_calls_created
CALLS = Listing(
    Call,
    CallQuery,
    views.call,
    owner=Call.owner_id,
    filters={"status": Call.status.__eq__, "workflow": Call.workflow.__eq__},
)


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
    return CALLS.answer()


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
    follower = Follower(who.id, who.expires, partial(lasts, services().limits, who))
    return services().call_streams.response(row.id, _snapshot(row), follower)


def later(readers: Sessions, known: Mapping[UUID, Snapshot]) -> dict[UUID, Snapshot]:
    """Those of the calls that have changed since they were seen last. One statement."""
    given = {"ids": [str(call_id) for call_id in known], "versions": [seen.version for seen in known.values()]}
    with readers() as session:
        return {row.id: _snapshot(row) for row in session.scalars(LATER, given)}


def _snapshot(row: Call) -> Snapshot:
    return Snapshot(row.version, orjson.dumps(views.call(row)), Status(row.status).final)
