"""The lines of a bulk: from one line to the write that it asks for, or all that is wrong with it (CONTRACT.md §2)."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from werkzeug.http import parse_etags

from api import body, terms
from api.flight import aside
from api.terms import Terms
from api.threads import beside_greenlets
from jobs.kernel import registry
from jobs.kernel.command import Command, Route
from jobs.kernel.errors import Invalid, NotFound, TooLarge
from jobs.kernel.field_errors import FieldErrors
from jobs.kernel.policy import Access, Priority
from jobs.kernel.times import Time
from models.views import spelled_id

DEEPEST = body.DEEPEST + 1
"""A line is a body, and what is around it."""

Key = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")]
RunAt = Annotated[Time, AfterValidator(terms.near)]
Target = Annotated[
    str | None, Field(description="the id in the route of its kind, where that has one, and nowhere else")
]
IfMatch = Annotated[str | None, Field(description="as the header `If-Match`, where there is a target")]


class Members(BaseModel):
    """What every line may say beside its kind and its body."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    idempotency_key: Key | None = Field(
        None, description="as the header `Idempotency-Key`", examples=["order-2026-017"]
    )
    run_at: RunAt | None = Field(None, description="when it is to run: at most 30 days ahead")
    priority: Priority = Field(Priority.NORMAL, description="whether it is taken before, with, or after the rest")


class Targeted(Members):
    """What lines may say of kinds that have a target."""

    target: str
    if_match: IfMatch = None


class BulkLine(Members):
    """One write of a bulk: one JSON object in a line."""

    kind: str = Field(description="as the operation says that sends one alone", examples=["orders.place"])
    body: dict[str, Any] | None = Field(
        None,
        description="as that operation takes it; needed where that has one",
        examples=[{"services": ["123"], "total_fee": "100.00"}],
    )
    target: Target = None
    if_match: IfMatch = None


class Line(NamedTuple):
    """A write as it stands in a line. `target`: of its route."""

    command: Command
    route: Route
    target: UUID | None
    asked: Terms


def read(raw: bytes, key: str | None = None) -> Line:
    """The write that a line asks for. `key`: its idempotency key where it has none of its own.

    Raises BadRequest, TooLarge, Invalid with all that is wrong with it, or NotFound for a target that is no id.
    """
    if len(raw) <= body.MAX_BYTES:
        value, wrong = _parsed(raw)
    else:  # it takes long enough to be read beside other requests
        with aside():
            value, wrong = beside_greenlets(lambda: _parsed(raw), "writes")
    if value is None or wrong:
        raise Invalid(errors=wrong)
    said = vars(value)
    command: Command = said["body"]
    target, tags = said.get("target"), said.get("if_match")
    if target is not None and (target := spelled_id(target)) is None:
        raise NotFound
    asked = Terms(
        key=said["idempotency_key"] or key,
        if_match=terms.strong_tags(parse_etags(tags)) if tags is not None else None,
        run_at=said["run_at"],
        priority=said["priority"],
    )
    return Line(command, _route(command), target, asked)


def _parsed(raw: bytes) -> tuple[Members | None, FieldErrors]:
    tree, plain, errors = body.tree(raw, DEEPEST)
    kind = tree.get("kind") if isinstance(tree, dict) else None
    if not isinstance(kind, str):
        return body.validated(BulkLine, plain, errors)
    command = registry.find(kind)
    if command is None or not can_be_sent(command):
        wrong = {"field": "kind", "message": "No kind of this name is sent in bulk"}
        raise Invalid("No kind of this name is sent in bulk.", code="unknown_kind", errors=[wrong])
    if len(raw) > command.most_bytes:
        raise TooLarge(f"The line is larger than {command.most_bytes} bytes, which its kind takes.")
    return body.validated(_model(command), plain, errors)


def can_be_sent(command: type[Command]) -> bool:
    """Whether a kind may stand in a line: one that somebody who is signed in may ask for over HTTP."""
    return command.route is not None and command.policy.access is not Access.ANYONE


@cache
def _model(command: type[Command]) -> type[Members]:
    """A line of one kind. Where a kind has no fields, its lines need no body."""
    given: Any = (command, ...) if command.model_fields else (command, command())
    return create_model(
        f"{command.__name__}Line",
        __base__=Members if command.target is None else Targeted,
        kind=(str, ...),
        body=given,
    )


def _route(command: Command) -> Route:
    if command.route is None:
        raise LookupError(f"{command.kind} has no route")
    return command.route
