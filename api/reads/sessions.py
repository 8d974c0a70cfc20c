"""Sessions, as their user sees them."""

from __future__ import annotations

import orjson
from flask import Flask, Response

from api import terms
from api.access import answers, caller
from api.documented import documented
from api.reads.pages import ListQuery, at, moment_and_id, page, position
from api.schemas import SessionPage
from api.services import services


class SessionQuery(ListQuery):
    """What the list of sessions can be asked."""


def register(app: Flask) -> None:
    app.add_url_rule("/v1/auth/sessions", "sessions.list", many, methods=["GET"])


@answers(about_sessions=True)
@documented("List sessions", description="Your own, the newest first.", response=SessionPage, query=SessionQuery)
def many() -> Response:
    """One page of the caller's sessions."""
    asked, secret, who = terms.query(SessionQuery), services().settings.secret_key, caller()
    start = position(asked, secret)
    before = moment_and_id(start) if start else None
    found = services().sessions.of(who.id)
    older = [each for each in found if before is None or (each.created_at, each.id) < before]
    shown = page(
        older,
        asked,
        secret,
        show=lambda each: each.view(current=str(each.id) == who.session),
        place=lambda each: at(each.created_at, each.id),
    )
    return Response(orjson.dumps(shown), content_type="application/json")
