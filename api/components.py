"""What the operations of the OpenAPI document share: parameters, headers, problems, and how to sign in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from apispec import APISpec
from pydantic import BaseModel

from api.shapes import Problem
from jobs.kernel import errors

Names = dict[type[BaseModel], dict[str, Any]]
"""The reference to each model's schema."""

PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "IdempotencyKey": (
        "header",
        {
            "name": "Idempotency-Key",
            "description": "The same key and request give the same job, however often they are sent.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x20-\x7e]+$"},
        },
    ),
    "Prefer": (
        "header",
        {
            "name": "Prefer",
            "description": "`wait=N`: answer when the job is final, at most N seconds later (0 to 30).",
            "schema": {"type": "string", "examples": ["wait=10"]},
        },
    ),
    "IfMatch": (
        "header",
        {
            "name": "If-Match",
            "description": "The job is rejected (`precondition_failed`) when the resource has moved on from this ETag.",
            "schema": {"type": "string", "examples": ['"v1"']},
        },
    ),
    "IfNoneMatch": (
        "header",
        {
            "name": "If-None-Match",
            "description": "Answered 304 when the resource still has this ETag.",
            "schema": {"type": "string", "examples": ['"v1"']},
        },
    ),
    "CsrfToken": (
        "header",
        {
            "name": "X-CSRF-TOKEN",
            "description": "What came with the refresh token's cookie; needed where the refresh token comes by its cookie.",
            "schema": {"type": "string"},
        },
    ),
    "LastEventId": (
        "header",
        {
            "name": "Last-Event-ID",
            "description": "The `id` of the last event that came: the present state is sent if it is newer.",
            "schema": {"type": "string", "examples": ["3"]},
        },
    ),
    "Signature": (
        "header",
        {
            "name": "X-Twilio-Signature",
            "description": "Twilio's, of the URL that it was given and all fields of the form.",
            "schema": {"type": "string", "minLength": 28, "maxLength": 28},
        },
    ),
    "CallOfUrl": (
        "query",
        {"name": "call", "description": "The call that the URL was made for.", "schema": {"type": "string"}},
    ),
    "MacOfUrl": (
        "query",
        {"name": "t", "description": "What shows that we have made the URL.", "schema": {"type": "string"}},
    ),
    "RunAt": (
        "query",
        {
            "name": "run_at",
            "description": "When the job is to run: RFC 3339 with an offset, up to 30 days ahead.",
            "schema": {"type": "string", "format": "date-time"},
        },
    ),
    "Priority": (
        "query",
        {
            "name": "priority",
            "description": "Whether the job is taken before, with, or after the rest of its queue.",
            "schema": {"type": "string", "enum": ["high", "normal", "low"], "default": "normal"},
        },
    ),
}
REQUEST_ID = "0f8fad5bd9cb469fa16570867728950e"
HEADERS = {
    "Location": ("Where the job can be followed", {"type": "string", "examples": ["/v1/jobs/{id}"]}),
    "RetryAfter": ("Seconds to wait before asking again", {"type": "integer", "minimum": 0}),
    "Replayed": ("`true` when the key had been used for this job before", {"type": "string", "const": "true"}),
    "PreferenceApplied": ("The wait that was honoured", {"type": "string", "examples": ["wait=10"]}),
    "ETag": ("The version of the resource", {"type": "string", "examples": ['"v1"']}),
    "Cache": ("Whether the answer was kept from before", {"type": "string", "enum": ["hit", "miss"]}),
    "SetCookie": ("The refresh token's cookie, and that of its CSRF token", {"type": "string"}),
    "CsrfToken": ("To be sent back with the refresh token's cookie", {"type": "string"}),
    "Limit": ("Requests allowed in the present window", {"type": "integer"}),
    "Remaining": ("Requests left in it", {"type": "integer"}),
    "Reset": ("When the next window begins, in seconds since 1970", {"type": "integer"}),
    "Allow": ("The methods that the path takes", {"type": "string", "examples": ["GET, HEAD, OPTIONS"]}),
    "RequestId": ("The caller's own, or a new one; also in the logs", {"type": "string"}),
}
ALWAYS = ("RequestId", "Location", "ETag", "RetryAfter", "Allow")
"""Headers that no response lacks which names them."""

SENT_AS = {
    "RetryAfter": "Retry-After",
    "Cache": "X-Cache",
    "Replayed": "Idempotency-Replayed",
    "PreferenceApplied": "Preference-Applied",
    "RequestId": "X-Request-ID",
    "SetCookie": "Set-Cookie",
    "CsrfToken": "X-CSRF-TOKEN",
    "Limit": "X-RateLimit-Limit",
    "Remaining": "X-RateLimit-Remaining",
    "Reset": "X-RateLimit-Reset",
}
LIMITED = ("Limit", "Remaining", "Reset")
"""On every answer to a caller who is known; they are left out where that limit is switched off."""

PROBLEMS: tuple[type[errors.AppError], ...] = (
    errors.BadRequest,
    errors.Unauthenticated,
    errors.Forbidden,
    errors.NotFound,
    errors.Conflict,
    errors.RateLimited,
    errors.QueueDown,
)
WRONG_FIELD = errors.Invalid(errors=[{"field": "total_fee", "message": "Field required"}])
NOT_OURS = {408: "request_timeout", 413: "body_too_large", 415: "unsupported_media_type", 500: "internal_error"}
"""Codes of what is found out before a view runs, or was foreseen by nobody."""

OTHER = "ProblemOther"
"""The response that every operation has beside those it names."""


def enter(spec: APISpec, names: Names) -> None:
    """Enter what operations refer to: parameters, headers, the problems by status, and how to sign in."""
    for name, (where, parameter) in PARAMETERS.items():
        spec.components.parameter(name, where, parameter)
    for name, (description, schema) in HEADERS.items():
        spec.components.header(name, {"description": description, "required": name in ALWAYS, "schema": schema})
    examples = {error.status: error.problem() for error in (*(kind() for kind in PROBLEMS), WRONG_FIELD)}
    for status in sorted({*examples, *NOT_OURS}):
        spec.components.response(problem(status), _problem(status, names[Problem], examples.get(status)))
    wrong_method = {**_example(405, "method_not_allowed"), "detail": "This path does not take that method; see Allow."}
    other = _problem(405, names[Problem], wrong_method)
    other["description"] = "Any other problem; among them 405, with `Allow`, for a method that the path does not take"
    other["headers"] |= headers("Allow")
    spec.components.response(OTHER, other)
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    spec.components.security_scheme("refresh", {"type": "apiKey", "in": "cookie", "name": "refresh_token_cookie"})


def problem(status: int) -> str:
    """The name of the response that a problem of this status is."""
    return f"Problem{status}"


def headers(*wanted: str) -> dict[str, Any]:
    """The headers of a response, by their names in HEADERS."""
    return {SENT_AS.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in wanted}


DESCRIPTIONS = {
    503: "Service Unavailable: `queue_full`, `database_unavailable`, `queue_unavailable`, or `overloaded`, where one process is "
    "asked more than it can answer in time. Ask again after `Retry-After` seconds; a write with its `Idempotency-Key`, since "
    "of `queue_unavailable` it may not be known whether the write was stored."
}


def _problem(status: int, schema: dict[str, Any], example: dict[str, Any] | None) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    content = {
        "schema": schema,
        "example": {**(example or _example(status, NOT_OURS[status])), "request_id": REQUEST_ID},
    }
    return {
        "description": DESCRIPTIONS.get(status, phrase),
        "content": {"application/problem+json": content},
        "headers": headers("RequestId", *(["RetryAfter"] if status in (429, 503) else [])),
    }


def _example(status: int, code: str) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    return {"type": errors.type_prefix + code, "title": phrase, "status": status, "detail": phrase, "code": code}
