"""Single resources, and conditional reads: what the client already has is not sent again (RFC 9110 §13.1.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from flask import Response, g, request
from sqlalchemy import select

from api.access import caller, id_of
from api.services import services
from jobs.kernel.errors import NotFound
from models import Event, Order, Task, views

Row = TypeVar("Row", Event, Order, Task)


def resource(model: type[Row], id: str, show: Callable[[Row], dict[str, Any]]) -> Response:
    """One row of the caller's, or any for an admin, by the id in the path. Raises NotFound."""
    with services().readers() as session:
        row = session.scalars(select(model).where(model.id == id_of(id))).one_or_none()
    if row is None or not caller().sees(row.owner_id):
        raise NotFound
    return tagged(orjson.dumps(show(row)), views.etag(row.version))


def tagged(body: bytes, tag: str) -> Response:
    """The answer with a JSON body and its strong entity tag; 304 when `If-None-Match` names it or is `*`.

    tag: without quotes. The comparison is the weak one, as the RFC asks for If-None-Match. What is behind the answer is there
    to be kept (`api.cache`).
    """
    g.tagged = tag, body
    if request.if_none_match.contains_weak(tag):
        response = Response(status=304)
        del response.headers["Content-Type"]
    else:
        response = Response(body, content_type="application/json")
    response.set_etag(tag)
    return response
