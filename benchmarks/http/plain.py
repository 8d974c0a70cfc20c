"""The same service written plainly, from well-known libraries, each used as its own guide shows it.

A signed token, one limit for each user, a validated body, a job in the queue, 202 with the job's id. No idempotency
keys, no cap on the queue, no request ids, security headers or log lines: it does less than Millrace, not more.
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Annotated

from flask import Flask, Response, jsonify, request
from flask_jwt_extended import JWTManager, get_jwt_identity, jwt_required
from flask_limiter import Limiter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis import Redis
from rq import Queue

SECRET = os.environ["JWT_SECRET_KEY"]
LIMIT = os.environ["RATE_LIMIT_USER"]


class Order(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid")

    services: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]] = Field(min_length=1, max_length=50)
    total_fee: Decimal = Field(ge=0, max_digits=12, decimal_places=2)
    customer_id: str | None = Field(None, min_length=1, max_length=64)


def place(order: dict[str, object], user: str) -> None:
    """What a worker would do. No worker runs here: only submitting is measured."""


def create_app() -> Flask:
    """The WSGI application."""
    app = Flask("plain", static_folder=None)
    app.config["JWT_SECRET_KEY"] = SECRET
    JWTManager(app)
    url = os.environ["REDIS_URL"]
    limiter = Limiter(get_jwt_identity, app=app, storage_uri=url, strategy="fixed-window", headers_enabled=True)
    queue = Queue("orders", connection=Redis.from_url(url))

    @app.post("/v1/orders")
    @jwt_required()
    @limiter.limit(LIMIT)
    def accept() -> tuple[Response, int]:
        order = Order.model_validate_json(request.get_data())
        job = queue.enqueue(place, order.model_dump(mode="json"), get_jwt_identity())
        answer = jsonify(id=job.id, status="queued")
        answer.headers["Location"] = f"/v1/jobs/{job.id}"
        return answer, 202

    @app.errorhandler(ValidationError)
    def refuse(wrong: ValidationError) -> tuple[Response, int]:
        return jsonify(errors=wrong.errors(include_url=False, include_context=False)), 422

    return app
