"""Bulk: up to a thousand writes in one request; each line has an outcome of its own (CONTRACT.md §2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson
from flask import Flask, Response, request
from structlog.contextvars import bind_contextvars
from werkzeug.exceptions import UnsupportedMediaType

from api import body, terms
from api.access import caller, submits
from api.bulk_lines import BulkLine
from api.bulk_schemas import BulkOutcome
from api.bulk_sender import Sender, Sent
from api.complete import Complete
from api.documented import NDJSON, LinesOf, documented
from api.headers import request_id
from jobs.kernel.errors import Invalid, TooLarge
from jobs.kernel.record import links
from jobs.kernel.submit import CHUNK
from models.views import ident

MOST_LINES = 1000
MOST_BYTES = 8 << 20
"""Of all lines (CONTRACT.md §1)."""

TOGETHER = 1 << 20
"""Bytes of lines that are sent together, unless one alone is larger: a longer script would keep everybody else waiting."""


def register(app: Flask) -> None:
    app.add_url_rule("/v1/bulk", "bulk", send, methods=["POST"])


@submits
@documented(
    "Send many writes at once",
    description="Up to 1,000 lines, 8 MiB in all; the schemas are those of one line of the body, and of the answer's line in its place. "
    "Each line is a write of its own: it is validated, authorized and limited as one, and durable once its answer says 202; a "
    "bad one spoils no other. So a bulk is answered 200 whatever became of its lines. An `Idempotency-Key` of the bulk is one of each "
    "line that has none, together with its place; the same bulk can then be sent again.",
    response=LinesOf(BulkOutcome),
    query=terms.NoQuery,
    lines=BulkLine,
    takes=("IdempotencyKey",),
)
def send() -> Response:
    """What became of each line, in order."""
    terms.query(terms.NoQuery)
    key = terms.key_of_request()
    lines = _lines(_whole())
    keys = [f"{key}\0{place}" if key is not None else None for place in range(len(lines))]
    sender = Sender(caller())
    answer = b""
    for some in _together(lines):
        sent = sender.send([(lines[place], keys[place]) for place in some])
        answer += b"".join([orjson.dumps(_told(one), option=orjson.OPT_APPEND_NEWLINE) for one in sent])
    bind_contextvars(lines=len(lines), accepted=sender.accepted)
    return Complete(answer, 200, content_type=NDJSON)


def _whole() -> bytes:
    """The body. Raises UnsupportedMediaType, RequestEntityTooLarge."""
    if request.mimetype != NDJSON:
        raise UnsupportedMediaType(f"The body must be {NDJSON}.")
    body.only_utf8()
    return body.whole(MOST_BYTES)


def _lines(raw: bytes) -> list[bytes]:
    """The lines of a body, whose last may end it with or without a newline. Raises TooLarge, Invalid."""
    raw = raw.removesuffix(b"\n")
    if raw.count(b"\n") >= MOST_LINES:
        raise TooLarge(f"A bulk has {MOST_LINES:,} lines at most.", code="too_many_lines")
    if not raw.strip():
        raise Invalid("The body has no line.", code="no_lines")
    return raw.split(b"\n")


def _together(lines: Sequence[bytes]) -> Iterator[list[int]]:
    """The places of lines that are sent together."""
    some: list[int] = []
    size = 0
    for place, line in enumerate(lines):
        if some and (len(some) == CHUNK or size + len(line) > TOGETHER):
            yield some
            some, size = [], 0
        some.append(place)
        size += len(line)
    yield some


def _told(one: Sent) -> dict[str, object]:
    """The answer's line."""
    if one.refusal is not None:
        return {"status": one.refusal.status, "error": one.refusal.problem() | {"request_id": request_id()}}
    if one.job is not None:
        return {"status": 202, "replayed": True, "job": one.job.view(with_result=False)}
    if one.submission is None or one.taken is None:
        raise LookupError("nothing has become of a line")
    command, job_id = one.submission.command, one.submission.id
    job = {
        "id": ident(job_id),
        "kind": command.kind,
        "status": one.taken.state,
        "links": links(job_id, command.resource_of(job_id, one.submission.target)),
    }
    return {"status": 202, "job": job}
