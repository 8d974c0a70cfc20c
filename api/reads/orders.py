"""Orders, read: a list by keyset, and one by its id."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import orjson
from flask import Flask, Response
from pydantic import Field
from sqlalchemy import Select, exists, select

from api import terms
from api.access import answers, caller, id_of
from api.documented import documented
from api.reads.conditional import tagged
from api.reads.pages import ListQuery, QueryTime, at, in_order, moment_and_id, page, position
from api.schemas import Order as OrderShape
from api.schemas import OrderPage
from api.services import services
from api.tokens import Caller
from jobs.kernel.errors import NotFound
from jobs.kernel.policy import Access
from jobs.orders import CustomerId, ServiceCode
from models import Order, Service, views


class OrderQuery(ListQuery):
    """What the list of orders can be asked."""

    sort: Literal["-created_at", "created_at"] = Field("-created_at", description="newest first, or oldest first")
    customer_id: CustomerId | None = Field(None, description="only orders with this reference")
    service: ServiceCode | None = Field(None, description="only orders that ask for this service, by its code")
    created_after: QueryTime | None = Field(None, description="only orders created at this time or later")
    created_before: QueryTime | None = Field(None, description="only orders created before this time")


def register(app: Flask) -> None:
    app.add_url_rule("/v1/orders", "orders.list", many, methods=["GET"])
    app.add_url_rule("/v1/orders/<id>", "orders.get", one, methods=["GET"])


@answers(cached=True)
@documented(
    "List orders",
    description="Your own, newest first; an admin sees everyone's. The two times bound a half-open interval: "
    "`created_after` is in it, `created_before` is not.",
    response=OrderPage,
    query=OrderQuery,
)
def many() -> Response:
    """One page of the caller's orders."""
    query, secret = terms.query(OrderQuery), services().settings.secret_key
    after = position(query, secret)
    statement = _list(caller(), query, moment_and_id(after) if after else None)
    with services().readers() as session:
        rows = session.scalars(statement).all()
    shown = page(rows, query, secret, show=views.order, place=lambda row: at(row.created_at, row.id))
    return Response(orjson.dumps(shown), content_type="application/json")


@answers(cached=True)
@documented("Read an order", response=OrderShape, conditional=True)
def one(id: str) -> Response:
    """One order of the caller's, or any for an admin."""
    with services().readers() as session:
        row = session.scalars(select(Order).where(Order.id == id_of(id))).one_or_none()
    if row is None or not caller().sees(row.owner_id):
        raise NotFound
    return tagged(orjson.dumps(views.order(row)), views.etag(row.version))


def _list(who: Caller, query: OrderQuery, after: tuple[datetime, UUID] | None) -> Select[Order]:
    """The page's statement, with one row too many. It walks ix_orders_owner, or for an admin ix_orders_created."""
    statement = select(Order).limit(query.limit + 1)
    if not Access.ADMIN.admits(who.role):
        statement = statement.where(Order.owner_id == who.id)
    if query.customer_id is not None:
        statement = statement.where(Order.customer_id == query.customer_id)
    if query.service is not None:
        # an unknown code is told from the catalogue, and not by walking all orders in vain
        known = exists().where(Service.code == query.service)
        statement = statement.where(Order.services.contains([query.service]), known)
    if query.created_after is not None:
        statement = statement.where(Order.created_at >= query.created_after)
    if query.created_before is not None:
        statement = statement.where(Order.created_at < query.created_before)
    return in_order(statement, Order.created_at, Order.id, after, newest_first=query.sort.startswith("-"))
