"""What a hand-written route says of itself, beside the code that answers it; `api.openapi` makes an operation of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import BaseModel

View = TypeVar("View", bound=Callable[..., Any])
ATTRIBUTE = "__documented__"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class EventsOf:
    """Server-Sent Events, each with what the model describes as its data."""

    model: type[BaseModel]


@dataclass(frozen=True, slots=True)
class LinesOf:
    """Lines of JSON, each of which the model describes."""

    model: type[BaseModel]


Answer = type[BaseModel] | EventsOf | LinesOf | str | None
"""The model of a body, that of events or of lines, the media type of what is none of these, or None for nothing."""


@dataclass(frozen=True, slots=True)
class Documented:
    """One operation. `responses`: by status. `form`: the model of a body that comes as a form; `lines`: that of each line of one. `problems`: statuses answered with a problem. `conditional`: it has an ETag and knows If-None-Match. `takes`
    and `sends`: headers, by their names in `api.components`. `by_cookie`: what it needs may come in the refresh cookie.
    `by_token`: it looks at the token itself, which need not be a caller's."""

    summary: str
    description: str = ""
    tag: str = ""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    form: type[BaseModel] | None = None
    lines: type[BaseModel] | None = None
    responses: Mapping[int, Answer] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    conditional: bool = False
    waits: bool = False
    body_required: bool = True
    takes: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    by_cookie: bool = False
    by_token: bool = False


def documented(
    summary: str,
    *,
    response: Answer,
    status: int = 200,
    others: Mapping[int, Answer] | None = None,
    description: str = "",
    tag: str = "",
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    form: type[BaseModel] | None = None,
    lines: type[BaseModel] | None = None,
    problems: tuple[int, ...] = (),
    conditional: bool = False,
    waits: bool = False,
    body_required: bool = True,
    takes: tuple[str, ...] = (),
    sends: tuple[str, ...] = (),
    by_cookie: bool = False,
    by_token: bool = False,
) -> Callable[[View], View]:
    """Say what a route does: `response` is what it answers with `status`; `others`, what it may answer instead.

    Of `problems` only those that the rest does not imply need naming. `waits`: it honours `Prefer: wait`.
    """

    def decorate(view: View) -> View:
        operation = Documented(
            summary=summary,
            description=description,
            tag=tag,
            query=query,
            body=body,
            form=form,
            lines=lines,
            responses={status: response, **(others or {})},
            problems=problems,
            conditional=conditional,
            waits=waits,
            body_required=body_required,
            takes=takes,
            sends=sends,
            by_cookie=by_cookie,
            by_token=by_token,
        )
        setattr(view, ATTRIBUTE, operation)
        return view

    return decorate


def of(view: Callable[..., Any]) -> Documented | None:
    """What a view says of itself; None when it says nothing. Decorators that keep `__dict__` keep it."""
    found: Documented | None = getattr(view, ATTRIBUTE, None)
    return found


def sending(view: View, header: str) -> View:
    """Say that a route, which has said what it does, sends this header too."""
    said = of(view)
    if said is not None:
        setattr(view, ATTRIBUTE, replace(said, sends=(*said.sends, header)))
    return view


def model_of(answer: Answer) -> type[BaseModel] | None:
    """What describes what is answered; None where nothing does."""
    if isinstance(answer, EventsOf | LinesOf):
        return answer.model
    return answer if isinstance(answer, type) else None
