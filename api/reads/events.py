"""Events, read: lists by keyset, of one's own and of one user's, and one by its id."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from flask import Flask, Response
from pydantic import Field, StringConstraints
from sqlalchemy import exists, select

from api.access import answers, caller, id_of
from api.documented import documented
from api.reads.lists import ByTime, CreatedAfter, CreatedBefore, Listing, between
from api.reads.pages import ListQuery
from api.reads.single import resource
from api.schemas import Event as EventShape
from api.schemas import EventPage
from api.services import services
from jobs.kernel.errors import NotFound
from models import Event, User, views
from models.event import Delivery

Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]


class EventQuery(ListQuery):
    """What the lists of events can be asked."""

    sort: ByTime = "-created_at"
    name: Name | None = Field(None, description="only events of this name")
    delivery: Delivery | None = Field(None, description="only events whose delivery has come to this")
    created_after: CreatedAfter = None
    created_before: CreatedBefore = None


# walks ix_events_owner, or for an admin ix_events_created
EVENTS = Listing(
    Event,
    EventQuery,
    views.event,
    owner=Event.owner_id,
    filters={
        "name": Event.name.__eq__,
        "delivery": Event.delivery.__eq__,
        **between("created", Event.created_at),
    },
)


def register(app: Flask) -> None:
    app.add_url_rule("/v1/events", "events.list", many, methods=["GET"])
    app.add_url_rule("/v1/events/user/<user_id>", "events.of_user", of_user, methods=["GET"])
    app.add_url_rule("/v1/events/<id>", "events.get", one, methods=["GET"])


@answers(cached=True)
@documented(
    "List events",
    description="Your own, newest first; an admin sees everyone's.",
    response=EventPage,
    query=EventQuery,
)
def many() -> Response:
    """One page of the caller's events."""
    return EVENTS.answer()


@answers(cached=True)
@documented(
    "List the events of a user",
    description="Yourself; an admin may ask for anybody who is there, or was.",
    response=EventPage,
    query=EventQuery,
)
def of_user(user_id: str) -> Response:
    """One page of the events of the caller, or of anybody for an admin."""
    user, who = id_of(user_id), caller()
    if user != who.id and not (who.sees(user) and _was_there(user)):
        raise NotFound
    return EVENTS.answer(Event.owner_id == user)


@answers(cached=True)
@documented("Read an event", response=EventShape, conditional=True)
def one(id: str) -> Response:
    """One event of the caller's, or any for an admin."""
    return resource(Event, id, views.event)


def _was_there(user: UUID) -> bool:
    """Whether there is such a user, or was: what was recorded of them is kept when they are deleted."""
    with services().readers() as session:
        return bool(session.scalar(select(exists().where(User.id == user))))
