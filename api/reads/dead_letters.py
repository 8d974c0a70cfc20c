"""Dead letters, read: a list by keyset, and one by its id, with what was sent; for admins (CONTRACT.md §9)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import orjson
from flask import Flask, Response
from pydantic import Field

from api import terms
from api.access import answers, id_of
from api.dead_letter_schemas import Letter, LetterPage
from api.documented import documented
from api.reads.pages import ListQuery, QueryTime, at, moment_and_id, page, position
from api.services import services
from jobs.dead_letters import Code, Kind
from jobs.kernel.dead_letters import payload, view
from jobs.kernel.errors import NotFound, QueueDown
from jobs.kernel.policy import Access
from jobs.kernel.record import JobRecord
from jobs.kernel.rerun import DeadLetter
from models.letter_store import Which


class LetterQuery(ListQuery):
    """What the list of dead letters can be asked."""

    kind: Kind | None = Field(None, description="only failed jobs of this kind")
    code: Code | None = Field(None, description="only those whose error has this code")
    failed_after: QueryTime | None = Field(None, description="only those that failed at this time or later")
    failed_before: QueryTime | None = Field(None, description="only those that failed before this time")


def register(app: Flask) -> None:
    app.add_url_rule("/v1/dead-letters", "dead_letters.list", many, methods=["GET"])
    app.add_url_rule("/v1/dead-letters/<id>", "dead_letters.get", one, methods=["GET"])


@answers(Access.ADMIN)
@documented(
    "List dead letters",
    description="Failed jobs that nobody has discarded, those that failed last first.",
    response=LetterPage,
    query=LetterQuery,
)
def many() -> Response:
    """One page of them, each with the status that its job has now."""
    query, secret = terms.query(LetterQuery), services().settings.secret_key
    start = position(query, secret)
    which = Which(query.kind, query.code, query.failed_after, query.failed_before)
    before = moment_and_id(start) if start is not None else None
    letters = services().dead_letters.page(which, before, query.limit + 1)
    live = live_of(letters)
    shown = page(
        letters,
        query,
        secret,
        show=lambda letter: view(letter, live.get(letter.id)),
        place=lambda letter: at(letter.finished_at, letter.id),
    )
    return _json(shown)


@answers(Access.ADMIN)
@documented("Read a dead letter", description="With what was sent, but for what is private.", response=Letter)
def one(id: str) -> Response:
    """One, by the id of its job."""
    letter = letter_of(id)
    return _json(view(letter, live_of([letter]).get(letter.id)) | {"payload": payload(letter)})


def letter_of(id: str) -> DeadLetter:
    """The dead letter that a path names. Raises NotFound."""
    letter = services().dead_letters.find(id_of(id))
    if letter is None or letter.discarded_at is not None:
        raise NotFound
    return letter


def live_of(letters: Sequence[DeadLetter]) -> dict[UUID, JobRecord]:
    """What Redis has of their jobs; nothing while it cannot be asked."""
    try:
        return services().ledger.live(letter.id for letter in letters)
    except QueueDown:
        return {}


def _json(shown: object) -> Response:
    return Response(orjson.dumps(shown), content_type="application/json")
