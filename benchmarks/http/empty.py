"""The least that a read can do which is not for everybody: know who asks, by Millrace's own check of a token, count it
against one limit, and answer nothing. What is left between it and a read is the read."""

from __future__ import annotations

from flask import Flask, Response, request

from api.limits import Limits
from api.tokens import Tokens
from config import Settings
from jobs.kernel import broker


def create_app() -> Flask:
    """The WSGI application."""
    settings = Settings.from_env()
    app = Flask("empty", static_folder=None)
    tokens, limits = Tokens(app, settings), Limits(app, settings, broker.connect(settings.redis_url))

    @app.get("/v1/orders")
    def nothing() -> Response:
        limits.count_caller(tokens.read(request.headers["Authorization"].removeprefix("Bearer ")))
        return Response(b"{}", content_type="application/json")

    return app
