"""The least a Flask service can do: read the body and answer 202. What is left between it and a service is the service."""

from __future__ import annotations

from flask import Flask, Response, request


def create_app() -> Flask:
    """The WSGI application."""
    app = Flask("bare", static_folder=None)

    @app.post("/v1/orders")
    def accept() -> Response:
        request.get_data()
        return Response(b'{"status":"queued"}', 202, content_type="application/json")

    return app
