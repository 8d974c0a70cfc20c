"""Single resources, read: one row by its id, for its owner or an admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from flask import Response
from sqlalchemy import select

from api.access import caller, id_of
from api.reads.conditional import tagged
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
