"""Users, read: a list for admins, by keyset or by page numbers; one by their id; and whoever asks."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import orjson
from flask import Flask, Response
from pydantic import Field, StringConstraints
from sqlalchemy import ColumnElement, func, or_, select

from api import terms
from api.access import answers, caller, id_of
from api.documented import documented
from api.reads.conditional import tagged
from api.reads.pages import NumberedQuery, at, in_order, moment_and_id, numbered, page, position
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

    sort: Literal["-created_at", "created_at"] = Field("-created_at", description="newest first, or oldest first")
    search: Search | None = Field(None, description="only users with this in their email or name, in whatever case")
    role: Role | None = Field(None, description="only users of this role")
    disabled: bool | None = Field(None, description="only users who are disabled, or are not")


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
    query, secret = terms.query(UserQuery), services().settings.secret_key
    after, wanted = position(query, secret), _wanted(query)
    statement = in_order(
        select(User).where(*wanted),
        User.created_at,
        User.id,
        moment_and_id(after) if after else None,
        newest_first=query.sort.startswith("-"),
    )
    with services().readers() as session:
        rows = session.scalars(statement.limit(query.limit + 1).offset(query.offset)).all()
        total = session.scalar(select(func.count()).select_from(User).where(*wanted)) if query.page else None
    shown = page(rows, query, secret, show=views.user, place=lambda row: at(row.created_at, row.id))
    if total is not None:
        shown = numbered(shown, query, total)
    return Response(orjson.dumps(shown), content_type="application/json")


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


def _wanted(query: UserQuery) -> list[ColumnElement[bool]]:
    """Who is on the list. Unless it is narrowed, it is walked by ix_users_created."""
    wanted: list[ColumnElement[bool]] = [User.deleted_at.is_(None)]
    if query.search is not None:
        found = (column.icontains(query.search, autoescape=True) for column in (User.email, User.name))
        wanted.append(or_(*found))
    if query.role is not None:
        wanted.append(User.role == query.role)
    if query.disabled is not None:
        wanted.append(User.disabled_at.is_not(None) if query.disabled else User.disabled_at.is_(None))
    return wanted
