"""Whether those who are served for long are still there."""

from __future__ import annotations

import select
from collections.abc import Collection

from flask import request
from gevent import monkey

CLOSED = getattr(select, "POLLRDHUP", 0)
"""Linux tells of a client that sends no more; other systems only of one that takes no more, which is told in any case."""


def connection() -> int | None:
    """The descriptor of the socket that the present request came on, where the server tells it, and it is open."""
    socket = request.environ.get("gunicorn.socket")
    descriptor: int = socket.fileno() if socket is not None else -1
    return descriptor if descriptor >= 0 else None


def closed(connections: Collection[int]) -> list[int]:
    """Those of the connections that their clients have closed; one call to the system, which waits for nothing."""
    poll = monkey.get_original("select", "poll")()  # gevent's own would give way to others
    for each in connections:
        poll.register(each, CLOSED)
    return [each for each, _ in poll.poll(0)]
