"""The interactive documentation: Swagger UI from the assets of flask-swagger-ui, so that it needs no other network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from flask import Flask, Response, send_from_directory

from api.documented import documented
from jobs.kernel.errors import NotFound

OURS = Path(__file__).with_name("static")
PAGE = "docs.html"
ASSETS = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
OUR_ASSETS = frozenset({"docs.css", "docs.js"})
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""No inline script or style sheet. Swagger UI's icons are data: images in its style sheet."""


def register(app: Flask) -> None:
    app.add_url_rule("/docs", "docs.page", page, methods=["GET"])
    app.add_url_rule("/docs/<name>", "docs.asset", asset, methods=["GET"])


@documented("This documentation, to try out", response="text/html", tag="system")
def page() -> Response:
    """The page itself, which loads the rest."""
    response = send_from_directory(OURS, PAGE, max_age=0)
    response.headers["Content-Security-Policy"] = CSP
    return response


def asset(name: str) -> Response:
    """A part of the page: one of ours or of Swagger UI's, and no other file."""
    if name in OUR_ASSETS:
        return send_from_directory(OURS, name, max_age=0)
    if name in ASSETS:
        return send_from_directory(_swagger_ui(), name, max_age=3600)
    raise NotFound


def _swagger_ui() -> Path:
    """Where the package keeps its files; found without importing it, as its code is not used."""
    found = find_spec("flask_swagger_ui")
    if found is None or found.origin is None:
        raise NotFound("The documentation's assets are not installed.")
    return Path(found.origin).parent / "dist"
