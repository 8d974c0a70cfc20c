"""Queues, for those who operate them: how they stand; paused, and resumed (CONTRACT.md §9).

That is no job, since a queue that is paused could not carry it out: Redis knows it, and nobody else.
"""

from __future__ import annotations

import orjson
import structlog
from flask import Flask, Response

from api import terms
from api.access import answers, caller
from api.documented import documented
from api.queue_schemas import Queue, QueuePage
from api.reads.pages import ListQuery, page, position
from api.services import services
from jobs.kernel.policy import QUEUES, Access
from jobs.kernel.queues import QueueView
from models.views import ident

log = structlog.get_logger(__name__)


class QueueQuery(ListQuery):
    """What the list of queues can be asked."""


def register(app: Flask) -> None:
    app.add_url_rule("/v1/queues", "queues.list", many, methods=["GET"])
    app.add_url_rule("/v1/queues/<name>", "queues.get", one, methods=["GET"])
    app.add_url_rule("/v1/queues/<name>/pause", "queues.pause", pause, methods=["POST"])
    app.add_url_rule("/v1/queues/<name>/resume", "queues.resume", resume, methods=["POST"])


@answers(Access.ADMIN)
@documented("List queues", description="Always the same ones, in the same order.", response=QueuePage, query=QueueQuery)
def many() -> Response:
    """One page of all queues. Raises Invalid."""
    query, secret = terms.query(QueueQuery), services().settings.secret_key
    overview, names = services().queues.view(), list(QUEUES)
    after = position(query, secret)
    rows = [row for row in overview.queues if not after or names.index(row.name) > after[0]]
    shown = page(rows, query, secret, show=QueueView.shown, place=lambda row: [names.index(row.name)])
    shown["meta"]["scheduled"] = overview.scheduled
    return Response(orjson.dumps(shown), content_type="application/json")


@answers(Access.ADMIN)
@documented("Read a queue", response=Queue)
def one(name: str) -> Response:
    """A queue as it stands. Raises NotFound."""
    return _shown(name)


@answers(Access.ADMIN)
@documented(
    "Pause a queue",
    description="Workers finish what they hold, and take no more. It accepts as ever. Pausing it again changes nothing.",
    response=Queue,
)
def pause(name: str) -> Response:
    """The queue, paused, until somebody resumes it. Raises NotFound."""
    changed = services().queues.pause(name)
    log.info("queue_paused", queue=name, by=ident(caller().id), changed=changed)
    return _shown(name)


@answers(Access.ADMIN)
@documented(
    "Resume a queue",
    description="Workers take from it again, at once. Resuming it again changes nothing.",
    response=Queue,
)
def resume(name: str) -> Response:
    """The queue, no longer paused. Raises NotFound."""
    changed = services().queues.resume(name)
    log.info("queue_resumed", queue=name, by=ident(caller().id), changed=changed)
    return _shown(name)


def _shown(name: str) -> Response:
    return Response(orjson.dumps(services().queues.one(name).shown()), content_type="application/json")
