"""The catalogue of services that an order can ask for."""

from __future__ import annotations

import orjson
from flask import Flask, Response
from sqlalchemy import select

from api import terms
from api.access import answers
from api.documented import documented
from api.reads.pages import ListQuery, page, position
from api.schemas import ServicePage
from api.services import services
from models import Service, views


class ServiceQuery(ListQuery):
    """What the catalogue can be asked."""


def register(app: Flask) -> None:
    app.add_url_rule("/v1/services", "services.list", many, methods=["GET"])


@answers(cached=True)
@documented(
    "List services", description="By code. Migrations alone change it.", response=ServicePage, query=ServiceQuery
)
def many() -> Response:
    """One page of the catalogue."""
    query, secret = terms.query(ServiceQuery), services().settings.secret_key
    statement = select(Service).order_by(Service.code).limit(query.limit + 1)
    if after := position(query, secret):
        statement = statement.where(Service.code > after[0])
    with services().readers() as session:
        rows = session.scalars(statement).all()
    shown = page(rows, query, secret, show=views.service, place=lambda row: [row.code])
    return Response(orjson.dumps(shown), content_type="application/json")
