"""The least that a read can do which is not for everybody: know who asks, by Millrace's own check of a token, count it
against one limit, and answer nothing. What is left between it and a read is the read."""

from __future__ import annotations

from flask import Flask, Response, request
from flask_limiter import Limiter

from api.limits import Limits
from api.tokens import Caller, Tokens
from config import Settings
from jobs.kernel import broker


def create_app() -> Flask:
    """The WSGI application, whose limit is Flask-Limiter's, as its guide shows it."""
    settings = Settings.from_env()
    app = Flask("empty", static_folder=None)
    tokens = Tokens(app, settings)
    limiter = Limiter(lambda: str(_caller(tokens).id), app=app, storage_uri=settings.redis_url, strategy="fixed-window")

    @app.get("/v1/orders")
    @limiter.limit(settings.rate_limit_user)
    def nothing() -> Response:
        return _nothing()

    return app


def counted() -> Flask:
    """The same, but counted as Millrace counts: calls of many requests to Redis go together."""
    settings = Settings.from_env()
    app = Flask("counted", static_folder=None)
    tokens, limits = Tokens(app, settings), Limits(app, settings, broker.connect(settings.redis_url))

    @app.get("/v1/orders")
    def nothing() -> Response:
        limits.count_caller(_caller(tokens))
        return _nothing()

    return app


def _caller(tokens: Tokens) -> Caller:
    return tokens.read(request.headers["Authorization"].removeprefix("Bearer "))


def _nothing() -> Response:
    return Response(b"{}", content_type="application/json")
