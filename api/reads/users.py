"""Users, read: a list for admins, by keyset or by page numbers; one by their id; and whoever asks."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import orjson
from flask import Flask, Response
from pydantic import Field, StringConstraints
from sqlalchemy import or_, select

from api.access import answers, caller, id_of
from api.documented import documented
from api.reads.conditional import tagged
from api.reads.lists import ByTime, Condition, Listing
from api.reads.pages import NumberedQuery
from api.schemas import User as UserShape
from api.schemas import UserPage
from api.services import services
from jobs.kernel.errors import NotFound, SessionEnded
from jobs.kernel.policy import Access
from jobs.users import Role
from models import User, views

Search = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,254}$")]


class UserQuery(NumberedQuery):
    """What the list of users can be asked."""

    sort: ByTime = "-created_at"
    search: Search | None = Field(None, description="only users with this in their email or name, in whatever case")
    role: Role | None = Field(None, description="only users of this role")
    disabled: bool | None = Field(None, description="only users who are disabled, or are not")


def _named(search: str) -> Condition:
    """A part of a word has no index here without an extension."""
    return or_(*(column.icontains(search, autoescape=True) for column in (User.email, User.name)))


def _disabled(so: bool) -> Condition:
    return User.disabled_at.is_not(None) if so else User.disabled_at.is_(None)


# unless it is narrowed, it walks ix_users_created
USERS = Listing(
    User,
    UserQuery,
    views.user,
    owner=None,
    among=(User.deleted_at.is_(None),),
    filters={"search": _named, "role": User.role.__eq__, "disabled": _disabled},
)


def register(app: Flask) -> None:
    app.add_url_rule("/v1/users", "users.list", many, methods=["GET"])
    app.add_url_rule("/v1/users/me", "users.me", me, methods=["GET"])
    app.add_url_rule("/v1/users/<id>", "users.get", one, methods=["GET"])


@answers(Access.ADMIN, cached=True)
@documented(
    "List users",
    description="By `cursor`, which is stable while others come in; or by `page`, and then `meta` counts them all.",
    response=UserPage,
    query=UserQuery,
)
def many() -> Response:
    """One page of all users."""
    return USERS.answer()


@answers(cached=True)
@documented("Read whoever asks", response=UserShape, conditional=True)
def me() -> Response:
    """The caller. Raises SessionEnded for one who has been deleted just now."""
    try:
        return _shown(caller().id)
    except NotFound:
        raise SessionEnded from None


@answers(cached=True)
@documented("Read a user", description="Yourself; an admin reads everybody.", response=UserShape, conditional=True)
def one(id: str) -> Response:
    """The caller, or anybody for an admin."""
    user = id_of(id)
    if not caller().sees(user):
        raise NotFound
    return _shown(user)


def _shown(user: UUID) -> Response:
    with services().readers() as session:
        row = session.scalars(select(User).where(User.id == user, User.deleted_at.is_(None))).one_or_none()
    if row is None:
        raise NotFound
    return tagged(orjson.dumps(views.user(row)), views.etag(row.version))
