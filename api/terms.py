"""The terms of a write: what its query and headers ask for, beside its body (CONTRACT.md §1, §2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from werkzeug.http import parse_list_header

from api.reads.pages import QueryTime
from jobs.kernel.errors import Invalid
from jobs.kernel.field_errors import FieldErrors, field_errors
from jobs.kernel.policy import Priority

MOST_WAIT = 30
MOST_AHEAD = timedelta(days=30)
KEY = re.compile(r"[\x20-\x7e]{1,255}")
M = TypeVar("M", bound=BaseModel)
WAIT = re.compile(r"wait\s*=\s*\"?([^\";]*)\"?", re.IGNORECASE)


def _near(moment: datetime) -> datetime:
    if moment > datetime.now(UTC) + MOST_AHEAD:
        raise ValueError(f"should be at most {MOST_AHEAD.days} days ahead")
    return moment


class WriteQuery(BaseModel):
    """What may stand in the query of any write."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_at: Annotated[QueryTime, AfterValidator(_near)] | None = None
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, slots=True)
class Terms:
    """`run_at`: UTC. `if_match`: strong entity tags without quotes, `("*",)` for any. `wait`: seconds, 0 for not."""

    key: str | None = None
    if_match: tuple[str, ...] | None = None
    run_at: datetime | None = None
    wait: int = 0
    priority: Priority = Priority.NORMAL


PLAIN = Terms()
HEADERS = frozenset({"HTTP_IDEMPOTENCY_KEY", "HTTP_IF_MATCH", "HTTP_PREFER"})
"""What asks for anything, as it stands in the environment."""


def of_request() -> tuple[Terms, FieldErrors]:
    """The terms of the present request, and all that is wrong with them."""
    environ = request.environ
    if HEADERS.isdisjoint(environ) and not environ.get("QUERY_STRING"):
        return PLAIN, []
    key, tags = environ.get("HTTP_IDEMPOTENCY_KEY"), environ.get("HTTP_IF_MATCH")
    errors: FieldErrors = []
    if key is not None and not KEY.fullmatch(key):
        errors.append({"field": "Idempotency-Key", "message": "Should be 1 to 255 printable ASCII characters"})
    query = _query_of_write(errors)
    terms = Terms(
        key=key,
        if_match=_strong_tags() if tags is not None else None,
        run_at=query.run_at,
        wait=_wait(errors),
        priority=query.priority,
    )
    return terms, errors


def wait_of_request() -> int:
    """`Prefer: wait=N`, in seconds; 0 for not. Raises Invalid."""
    errors: FieldErrors = []
    seconds = _wait(errors)
    if errors:
        raise Invalid(errors=errors)
    return seconds


def query(model: type[M]) -> M:
    """The present request's query as `model`. Raises Invalid with all that is wrong with it."""
    value, errors = _query(model)
    if value is None or errors:
        raise Invalid(errors=errors)
    return value


def _query(model: type[M]) -> tuple[M | None, FieldErrors]:
    """The query as `model` reads it, or all that is wrong with it; a parameter given twice is wrong too."""
    given = request.args.to_dict(flat=False)
    errors = [{"field": name, "message": "Given more than once"} for name, values in given.items() if len(values) > 1]
    try:
        return model.model_validate({name: values[0] for name, values in given.items()}), errors
    except ValidationError as refused:
        return None, errors + field_errors(refused)


def _query_of_write(errors: FieldErrors) -> WriteQuery:
    if not request.query_string:
        return WriteQuery()
    asked, wrong = _query(WriteQuery)
    errors.extend(wrong)
    return asked or WriteQuery()


def _wait(errors: FieldErrors) -> int:
    """RFC 7240 §4.3; preferences that are not ours are ignored, as §2 of it asks."""
    for preference in parse_list_header(request.headers.get("Prefer", "")):
        if match := WAIT.match(preference):
            seconds = match[1].strip()
            if re.fullmatch(r"[0-9]{1,2}", seconds) and int(seconds) <= MOST_WAIT:
                return int(seconds)
            errors.append({"field": "Prefer", "message": f"wait should be 0 to {MOST_WAIT} seconds"})
            return 0
    return 0


def _strong_tags() -> tuple[str, ...]:
    """The strong tags of If-Match: weak ones never match (RFC 9110 §13.1.1), so that none is left of them."""
    tags = request.if_match
    return ("*",) if tags.star_tag else tuple(sorted(tags.as_set()))
