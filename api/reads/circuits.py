"""How the services outside stand that jobs ask (CONTRACT.md §5)."""

from __future__ import annotations

import orjson
from flask import Flask, Response

from api.access import answers
from api.documented import documented
from api.schemas import Circuits
from api.services import services

PATHS = {"circuits.list": "/v1/circuits", "circuits.status": "/v1/events/circuit-status"}


def register(app: Flask) -> None:
    for endpoint, path in PATHS.items():
        app.add_url_rule(path, endpoint, every, methods=["GET"])


@answers()
@documented(
    "List circuits",
    description="By name. Jobs that need a service whose circuit is open wait, as `scheduled`, and use up no attempt.",
    response=Circuits,
)
def every() -> Response:
    """All there are, known to Redis alone."""
    return Response(orjson.dumps(services().circuits.view()), content_type="application/json")
