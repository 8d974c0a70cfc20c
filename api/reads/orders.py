"""Orders, read: a list by keyset, and one by its id."""

from __future__ import annotations

from flask import Flask, Response
from pydantic import Field
from sqlalchemy import and_, exists

from api.access import answers
from api.documented import documented
from api.reads.lists import ByTime, Condition, CreatedAfter, CreatedBefore, Listing, between
from api.reads.pages import ListQuery
from api.reads.single import resource
from api.schemas import Order as OrderShape
from api.schemas import OrderPage
from jobs.orders import CustomerId, ServiceCode
from models import Order, Service, views


class OrderQuery(ListQuery):
    """What the list of orders can be asked."""

    sort: ByTime = "-created_at"
    customer_id: CustomerId | None = Field(None, description="only orders with this reference")
    service: ServiceCode | None = Field(None, description="only orders that ask for this service, by its code")
    created_after: CreatedAfter = None
    created_before: CreatedBefore = None


def _asks_for(service: str) -> Condition:
    """An unknown code is told from the catalogue, and not by walking all orders in vain."""
    return and_(Order.services.contains([service]), exists().where(Service.code == service))


# walks ix_orders_owner, or for an admin ix_orders_created
ORDERS = Listing(
    Order,
    OrderQuery,
    views.order,
    owner=Order.owner_id,
    filters={"customer_id": Order.customer_id.__eq__, "service": _asks_for, **between("created", Order.created_at)},
)


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
    return ORDERS.answer()


@answers(cached=True)
@documented("Read an order", response=OrderShape, conditional=True)
def one(id: str) -> Response:
    """One order of the caller's, or any for an admin."""
    return resource(Order, id, views.order)
