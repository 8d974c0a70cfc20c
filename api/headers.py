"""What every response carries, and the one log line of every request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog
from flask import Flask, Response, current_app, g, request
from flask_cors import CORS
from secure import (
    ContentSecurityPolicy,
    ReferrerPolicy,
    Secure,
    StrictTransportSecurity,
    XContentTypeOptions,
    XFrameOptions,
)

from api.access import access_of
from api.services import services
from api.tokens import Caller
from config import Settings
from jobs.kernel.policy import Access
from jobs.kernel.submit import limit_headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Headers = list[tuple[str, str]]
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
CSP = "Content-Security-Policy"
SECURITY = dict(
    Secure(
        hsts=StrictTransportSecurity().max_age(63_072_000).include_subdomains(),
        csp=ContentSecurityPolicy().default_src("'none'").frame_ancestors("'none'"),
        xcto=XContentTypeOptions().nosniff(),
        referrer=ReferrerPolicy().no_referrer(),
        xfo=XFrameOptions().deny(),
    ).headers
)
DEFAULT_CSP = (CSP, SECURITY[CSP])
ALWAYS = tuple((name, value) for name, value in SECURITY.items() if name != CSP)
MORE = "millrace.headers"
"""Under this name in the environment: headers that the answer is to carry, in place of its own of that name."""

EXPOSED = (
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-Cache",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-ID",
)

log = structlog.get_logger(__name__)


def register(app: Flask, settings: Settings) -> None:
    """Take part in every request: first, to name it; and last, to finish its answer and log it."""
    app.wsgi_app = with_headers(app.wsgi_app)  # type: ignore[assignment,method-assign]
    app.after_request(_finish)
    app.before_request(_begin)
    if settings.cors_origins:
        CORS(
            app,
            origins=list(settings.cors_origins),
            supports_credentials="*" not in settings.cors_origins,
            expose_headers=list(EXPOSED),
            send_wildcard=False,
            max_age=600,
        )


def with_headers(app: WSGIApplication) -> WSGIApplication:
    """The application, each of whose answers carries what all carry. Here, below Flask, a header costs a tuple; as one
    of a response it is checked, compared and copied."""

    def framed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = environ.get("HTTP_X_REQUEST_ID", "")
        more = {"X-Request-ID": asked if REQUEST_ID.fullmatch(asked) else uuid4().hex}
        environ[MORE] = more

        def start(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            own = [pair for pair in headers if pair[0] not in more]
            policy = () if any(name == CSP for name, _ in own) else (DEFAULT_CSP,)
            return start_response(status, [*own, *more.items(), *ALWAYS, *policy], exc_info)

        return app(environ, start)

    return framed


def _begin() -> None:
    g.request_id = request.environ[MORE]["X-Request-ID"]
    g.began = perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _finish(response: Response) -> Response:
    more: dict[str, str] = request.environ[MORE]
    rule = request.url_rule
    if rule is not None and rule.rule.startswith("/v1"):
        _keep_private(response, rule.endpoint, more)
    more.update(limit_headers(services().limits.state()))
    _log(response, rule.rule if rule else None)
    return response


def _keep_private(response: Response, endpoint: str, more: dict[str, str]) -> None:
    """What needs a token, or gives one, is stored by nobody; a public page may say otherwise for itself."""
    public = access_of(current_app.view_functions[endpoint]) is Access.ANYONE
    if not public or "Cache-Control" not in response.headers:
        more["Cache-Control"] = "no-store"


def _log(response: Response, path: str | None) -> None:
    """Path is the route's rule: the real one may hold what must not be logged."""
    seen = {"job_id": g.get("job_id")}
    who = g.get("caller")
    if isinstance(who, Caller):
        seen["user_id"] = str(who.id)
    log.info(
        "request",
        method=request.method,
        path=path,
        status=response.status_code,
        ms=round((perf_counter() - g.began) * 1000, 2),
        **{name: value for name, value in seen.items() if value},
    )
