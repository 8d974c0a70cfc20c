"""What every response carries; and of every request one log line, and what is counted."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

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
from structlog.contextvars import bind_contextvars, clear_contextvars

from api.access import access_of
from api.services import services
from config import Settings
from jobs.kernel.meters import REQUEST, REQUESTS
from jobs.kernel.policy import Access
from jobs.kernel.submit import limit_headers
from jobs.kernel.tally import tally

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

BEGAN = "millrace.began"

METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
OTHER = "other"
"""What a method, or a path, is counted as that is none of ours: there is no end to what clients think of."""

EXPOSED = (
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-CSRF-TOKEN",
    "X-Cache",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-ID",
)

log = structlog.get_logger(__name__)


def register(app: Flask, settings: Settings) -> None:
    """Take part in every request: before Flask, to name it; and last, to finish its answer and log it."""
    # Flask's own way to wrap an application, which mypy takes for a method that is replaced.
    app.wsgi_app = with_headers(app.wsgi_app)  # type: ignore[assignment,method-assign]
    app.after_request(_finish)
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
        name = asked if REQUEST_ID.fullmatch(asked) else secrets.token_hex(16)
        environ[BEGAN] = perf_counter()
        environ[MORE] = more = {"X-Request-ID": name}
        clear_contextvars()
        bind_contextvars(request_id=name)

        def start(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            own = [pair for pair in headers if pair[0] not in more]
            policy = () if any(name == CSP for name, _ in own) else (DEFAULT_CSP,)
            return start_response(status, [*own, *more.items(), *ALWAYS, *policy], exc_info)

        return app(environ, start)

    return framed


def request_id() -> str:
    """The name of the present request."""
    name: str = request.environ[MORE]["X-Request-ID"]
    return name


def _finish(response: Response) -> Response:
    environ, rule, own = request.environ, request.url_rule, services()
    more: dict[str, str] = environ[MORE]
    if rule is not None and rule.rule.startswith("/v1"):
        _keep_private(response, rule.endpoint, more)
    more.update(limit_headers(own.limits.state()))
    if (cache := g.get("cache")) is not None:
        more["X-Cache"] = cache
    # Path is the route's rule: the real one may hold what must not be logged.
    method, path, status = environ["REQUEST_METHOD"], rule.rule if rule else None, response.status_code
    seconds = perf_counter() - environ[BEGAN]
    log.info("request", method=method, path=path, status=status, ms=round(seconds * 1000, 2))
    _count(method if method in METHODS else OTHER, path or OTHER, status, seconds)
    own.counting.go_on()
    return response


def _count(method: str, route: str, status: int, seconds: float) -> None:
    tally.count(REQUESTS, method, route, status)
    tally.measure(REQUEST, (seconds,), method, route)


def _keep_private(response: Response, endpoint: str, more: dict[str, str]) -> None:
    """What needs a token, or gives one, is stored by nobody; a public page may say otherwise for itself."""
    public = access_of(current_app.view_functions[endpoint]) is Access.ANYONE
    if not public or "Cache-Control" not in response.headers:
        more["Cache-Control"] = "no-store"
