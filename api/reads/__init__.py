"""Reads: written by hand, one SQL statement each, shown by models.views."""

from __future__ import annotations

from flask import Flask


def register(app: Flask) -> None:
    """Add the routes that read."""
    # here, because what reads parse their query with stands on api.reads.pages itself
    from api.reads import calls, circuits, dead_letters, events, orders, services, sessions, tasks, users

    calls.register(app)
    circuits.register(app)
    dead_letters.register(app)
    events.register(app)
    orders.register(app)
    services.register(app)
    sessions.register(app)
    tasks.register(app)
    users.register(app)
