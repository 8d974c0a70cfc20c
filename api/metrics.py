"""`GET /metrics`, as Prometheus reads it: not public, refused in no overload, and counted against nobody (CONTRACT.md §9)."""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from flask import Flask, Response, request

from api import gauges
from api.access import bearer_token, caller, make_sure_in_session
from api.documented import documented
from api.exposition import Exposition
from api.services import services
from api.threads import beside_greenlets
from config import Settings
from jobs.kernel.errors import Forbidden
from jobs.kernel.policy import Access

TEXT = "text/plain"
SENT_ON = frozenset({"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_AUTHORIZATION"})


def register(app: Flask) -> None:
    app.add_url_rule("/metrics", "metrics", metrics, methods=["GET"])


@documented(
    "What is counted and measured, of all processes together",
    description="For Prometheus, in its text format, or as OpenMetrics to whoever accepts that. With the token of the setting "
    "`METRICS_TOKEN`, or an admin's; locally also without, from the machine itself. Still answered while Redis or "
    "PostgreSQL is away: with what is known.",
    response=TEXT,
    problems=(401, 403),
    by_token=True,
    tag="system",
)
def metrics() -> Response:
    """What this process has counted is added first, so that it is never late itself."""
    _admit(services().settings)
    own = services()
    own.counting.add()
    in_redis, fields = gauges.in_redis(own)
    exposition = Exposition(fields, [gauges.about(), *in_redis, *own.in_database.look()])
    accept = request.headers.get("Accept", "")
    body, media_type = beside_greenlets(lambda: exposition.written(accept), "metrics")  # tens of milliseconds
    return Response(body, content_type=media_type, headers={"Cache-Control": "no-store"})


def _admit(settings: Settings) -> None:
    """Raises Unauthenticated, Forbidden, SessionEnded."""
    if settings.environment == "local" and _from_here():
        return
    given, expected = bearer_token().encode(), settings.metrics_token.encode()
    if expected and hmac.compare_digest(given, expected):
        return
    who = caller()
    if not Access.ADMIN.admits(who.role):
        raise Forbidden
    make_sure_in_session(who)


def _from_here() -> bool:
    """Whether it comes from the machine itself, sent on by nobody, and does not say itself who asks."""
    if not SENT_ON.isdisjoint(request.environ):
        return False
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
