"""OpenAPI operations: of a kind, from its declaration; of a hand-written route, from what it says of itself."""

from __future__ import annotations

import inspect
import re
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from pydantic import BaseModel

from api.documented import Documented
from api.schemas import Job, Problem
from jobs.kernel.command import Command, Route
from jobs.kernel.policy import Access

Names = dict[type[BaseModel], dict[str, Any]]
"""The reference to each model's schema."""

WRITE_PROBLEMS = (400, 401, 413, 415, 422, 429, 503)
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
    "RunAt": (
        "query",
        {
            "name": "run_at",
            "description": "When the job is to run: RFC 3339 with an offset, up to 30 days ahead.",
            "schema": {"type": "string", "format": "date-time"},
        },
    ),
}
HEADERS = {
    "Location": ("Where the job can be followed", {"type": "string", "examples": ["/v1/jobs/{id}"]}),
    "RetryAfter": ("Seconds to wait before asking again", {"type": "integer", "minimum": 0}),
    "Replayed": ("`true` when the key had been used for this job before", {"type": "string", "const": "true"}),
    "PreferenceApplied": ("The wait that was honoured", {"type": "string", "examples": ["wait=10"]}),
    "ETag": ("The version of the resource", {"type": "string", "examples": ['"v1"']}),
    "RequestId": ("The caller's own, or a new one; also in the logs", {"type": "string"}),
}
SENT_AS = {"RetryAfter": "Retry-After", "Replayed": "Idempotency-Replayed", "PreferenceApplied": "Preference-Applied"}
SENT_AS |= {"RequestId": "X-Request-ID"}


def components(spec: APISpec, names: Names) -> None:
    """Enter what operations refer to: parameters, headers, the problems by status, and how to sign in."""
    for name, (where, parameter) in PARAMETERS.items():
        spec.components.parameter(name, where, parameter)
    for name, (description, schema) in HEADERS.items():
        spec.components.header(name, {"description": description, "schema": schema})
    problem = {"application/problem+json": {"schema": names[Problem]}}
    for status in (400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 429, 500, 503):
        headers = _headers("RequestId", *(["RetryAfter"] if status in (429, 503) else []))
        phrase = HTTPStatus(status).phrase
        spec.components.response(_problem(status), {"description": phrase, "content": problem, "headers": headers})
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})


def of_command(command: type[Command], names: Names) -> dict[str, Any]:
    """The operation of a kind with a route: its body is the command, its answer the job."""
    route = command.route
    if route is None:
        raise LookupError(f"{command.kind} has no route")
    summary, _, description = inspect.cleandoc(command.__doc__ or "").partition("\n")
    job = {"application/json": {"schema": names[Job]}}
    accepted = _headers("RequestId", "Location", "RetryAfter", "Replayed")
    final = _headers("RequestId", "PreferenceApplied", "Replayed")
    operation = {
        "operationId": command.kind,
        "summary": summary.rstrip("."),
        "description": f"{description.strip()}\n\nKind `{command.kind}`.".strip(),
        "parameters": _command_parameters(route),
        "responses": {
            "202": {"description": "The job, durably queued", "content": job, "headers": accepted},
            "200": {"description": "The final job, after `Prefer: wait`", "content": job, "headers": final},
            **_problems(WRITE_PROBLEMS, command.policy.access, target=route.has_target),
        },
        **_security(command.policy.access),
    }
    if command.model_fields:
        content = {"schema": names[command], **_example(command)}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def of_view(path: str, method: str, said: Documented, access: Access, names: Names) -> dict[str, Any]:
    """The operation of a hand-written route."""
    parameters: list[Any] = _path_parameters(path)
    parameters += _query_parameters(said.query) if said.query else []
    parameters += ["IfNoneMatch"] if said.conditional else []
    parameters += ["Prefer"] if said.waits else []
    operation: dict[str, Any] = {
        "operationId": f"{method}_" + "_".join(part.strip("{}") for part in path.replace(".", "/").split("/") if part),
        "summary": said.summary,
        "parameters": parameters,
        "responses": {str(status): _answer(status, body, said, names) for status, body in said.responses.items()},
        **_security(access),
    }
    if said.description:
        operation["description"] = said.description
    if said.conditional:
        operation["responses"]["304"] = {"description": "Not modified", "headers": _headers("RequestId", "ETag")}
    if said.body:
        content = {"schema": names[said.body], **_example(said.body)}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    implied = ((422,) if said.query else ()) + ((400, 413, 415, 422) if said.body else ())
    implied += (401, 429, 503) if access is not Access.ANYONE else ()
    operation["responses"] |= _problems((*said.problems, *implied), access, target="{" in path)
    return operation


def _answer(status: int, body: type[BaseModel] | str | None, said: Documented, names: Names) -> dict[str, Any]:
    headers = _headers("RequestId", *(["ETag"] if said.conditional else []))
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase, "headers": headers}
    if isinstance(body, str):
        answer["content"] = {body: {"schema": {"type": "object" if body.endswith("json") else "string"}}}
    elif body is not None:
        answer["content"] = {"application/json": {"schema": names[body]}}
    return answer


def _command_parameters(route: Route) -> list[Any]:
    precondition = ["IfMatch"] if route.has_target else []
    return [*_path_parameters(route.path), *precondition, "IdempotencyKey", "Prefer", "RunAt"]


def _path_parameters(path: str) -> list[dict[str, Any]]:
    shapes = {"id": {"type": "string", "format": "uuid"}}
    names = re.findall(r"{(\w+)}", path)
    return [
        {"in": "path", "name": name, "required": True, "schema": shapes.get(name, {"type": "string"})} for name in names
    ]


def _query_parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    """One parameter per field of a query model."""
    schema = query.model_json_schema()
    required, shared = schema.get("required", ()), schema.get("$defs", {})
    found = []
    for name, member in schema["properties"].items():
        parameter = {"in": "query", "name": name, "required": name in required, "schema": _plain(member, shared)}
        if "description" in member:
            parameter["description"] = member["description"]
        found.append(parameter)
    return found


def _plain(member: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field as a parameter has it: in a query, what is not given is left out, so there is no null."""
    kinds = [kind for kind in member.get("anyOf", ()) if kind != {"type": "null"}]
    shape = {name: value for name, value in member.items() if name != "anyOf" and value is not None}
    shape |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}
    if reference := shape.pop("$ref", None):
        shape |= shared[reference.rpartition("/")[2]]
    return {name: value for name, value in shape.items() if name not in ("title", "description")}


def _example(model: type[BaseModel]) -> dict[str, Any]:
    """An example body made of the fields' own examples; nothing when none has any."""
    example = {}
    for name, member in model.model_json_schema()["properties"].items():
        for shape in (member, *member.get("anyOf", ())):
            if shape.get("examples"):
                example[name] = shape["examples"][0]
                break
    return {"example": example} if example else {}


def _problems(statuses: tuple[int, ...], access: Access, *, target: bool) -> dict[str, str]:
    more = ((404,) if target else ()) + ((401, 403) if access is Access.ADMIN else ())
    unsigned = (401, 403) if access is Access.ANYONE and 401 not in statuses else ()
    wanted = sorted({*statuses, *more} - {*unsigned})
    return {str(status): _problem(status) for status in wanted}


def _problem(status: int) -> str:
    return f"Problem{status}"


def _headers(*wanted: str) -> dict[str, Any]:
    return {SENT_AS.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in wanted}


def _security(access: Access) -> dict[str, Any]:
    return {} if access is Access.ANYONE else {"security": [{"bearer": []}]}
