"""OpenAPI operations: of a kind, from its declaration; of a hand-written route, from what it says of itself."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from api import components
from api.components import Names
from api.documented import Answer, Documented, EventsOf
from api.schemas import Job
from jobs.kernel.command import Command, Route
from jobs.kernel.outcome import State
from jobs.kernel.policy import Access
from jobs.kernel.record import JobRecord

JOB_ID = UUID("0198c2f0-6f1e-7c3a-9b51-3d2f6a7b8c9d")
TARGET_ID = UUID("0198c2d4-1b0a-7e55-8f4e-5a6b7c8d9e0f")
NEVER_REFUSED = ("/healthz",)
"""Answered by a process that is overloaded too; `/readyz` says 503 for reasons of its own."""

WRITE_PROBLEMS = (400, 401, 408, 413, 415, 422, 429, 503)


def of_command(command: type[Command], names: Names) -> dict[str, Any]:
    """The operation of a kind with a route: its body is the command, its answer the job."""
    route = command.route
    if route is None:
        raise LookupError(f"{command.kind} has no route")
    summary, _, description = inspect.cleandoc(command.__doc__ or "").partition("\n")
    queued = _job(command, route, names, State.QUEUED)
    done = _job(command, route, names, State.SUCCEEDED)
    accepted = components.headers("RequestId", "Location", "RetryAfter", "Replayed", *components.LIMITED)
    final = components.headers("RequestId", "Location", "PreferenceApplied", "Replayed", *components.LIMITED)
    refused = (403,) if command.admits is not Command.admits else ()
    problems = [status for status in WRITE_PROBLEMS if status != 401 or command.policy.access is not Access.ANYONE]
    operation = {
        "operationId": command.kind,
        "summary": summary.rstrip("."),
        "description": f"{description.strip()}\n\nKind `{command.kind}`.".strip(),
        "parameters": _command_parameters(route),
        "responses": {
            "202": {"description": "The job, durably queued", "content": queued, "headers": accepted},
            "200": {"description": "The final job, after `Prefer: wait`", "content": done, "headers": final},
            **_problems((*problems, *refused), command.policy.access, target=route.has_target),
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
    parameters += said.takes
    counted = components.LIMITED if access is not Access.ANYONE else ()
    headers = components.headers("RequestId", *(["ETag"] if said.conditional else []), *said.sends, *counted)
    operation: dict[str, Any] = {
        "operationId": f"{method}_" + "_".join(part.strip("{}") for part in path.replace(".", "/").split("/") if part),
        "summary": said.summary,
        "parameters": parameters,
        "responses": {str(status): _answer(status, body, headers, names) for status, body in said.responses.items()},
        **_security(access, by_cookie=said.by_cookie),
    }
    if said.description:
        operation["description"] = said.description
    if said.conditional:
        operation["responses"]["304"] = {"description": "Not modified", "headers": headers}
    if said.body:
        content = {"schema": names[said.body], **_example(said.body)}
        operation["requestBody"] = {"required": said.body_required, "content": {"application/json": content}}
    if posted := said.form and method != "get":
        content = {"schema": names[said.form], **_example(said.form)}
        operation["requestBody"] = {"content": {"application/x-www-form-urlencoded": content}}
    implied = ((422,) if said.query or said.waits else ()) + ((400, 408, 413, 415, 422) if said.body else ())
    implied += (400, 408, 413) if posted else ()
    implied += (401, 429) if access is not Access.ANYONE else ()
    implied += (503,) if path not in NEVER_REFUSED else ()
    operation["responses"] |= _problems((*said.problems, *implied), access, target="{" in path)
    return operation


def _answer(status: int, body: Answer, headers: dict[str, Any], names: Names) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase, "headers": headers}
    if isinstance(body, str):
        answer["content"] = {body: {"schema": {"type": "object" if body.endswith("json") else "string"}}}
    elif isinstance(body, EventsOf):
        answer["content"] = {"text/event-stream": {"schema": _event(names[body.model])}}
    elif body is not None:
        answer["content"] = {"application/json": {"schema": names[body]}}
    return answer


def _event(data: dict[str, Any]) -> dict[str, Any]:
    """One event of a stream; OpenAPI 3.1 has no way of its own to say that there are several."""
    as_json = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return {"type": "object", "properties": {"event": {"type": "string"}, "id": {"type": "string"}, "data": as_json}}


def _command_parameters(route: Route) -> list[Any]:
    precondition = ["IfMatch"] if route.has_target else []
    return [*_path_parameters(route.path), *precondition, "IdempotencyKey", "Prefer", "RunAt", "Priority"]


def _job(command: type[Command], route: Route, names: Names, state: State) -> dict[str, Any]:
    """A job as the answer of a write, with an example of this kind."""
    submitted = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    ended = submitted + timedelta(milliseconds=42) if state.final else None
    record = JobRecord(
        id=JOB_ID,
        kind=command.kind,
        owner=None,
        state=state,
        submitted_at=submitted,
        started_at=ended,
        finished_at=ended,
        attempts=int(state.final),
        resource=command.resource_of(JOB_ID, TARGET_ID if route.has_target else None),
    )
    return {"application/json": {"schema": names[Job], "example": record.view()}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    an_id = {"type": "string", "format": "uuid"}
    shapes = {"id": an_id, "user_id": an_id}
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
    """An example body made of the fields' own examples; nothing when one that is required has none."""
    example = {}
    for name, member in model.model_json_schema()["properties"].items():
        for shape in (member, *member.get("anyOf", ())):
            if shape.get("examples"):
                example[name] = shape["examples"][0]
                break
    complete = all(name in example for name, field in model.model_fields.items() if field.is_required())
    return {"example": example} if example and complete else {}


def _problems(statuses: tuple[int, ...], access: Access, *, target: bool) -> dict[str, str]:
    more = ((404,) if target else ()) + ((401, 403) if access is Access.ADMIN else ())
    wanted = sorted({*statuses, *more})
    return {str(status): components.problem(status) for status in (*wanted, 500)} | {"default": components.OTHER}


def _security(access: Access, *, by_cookie: bool = False) -> dict[str, Any]:
    """How to say who one is; an empty way where that is not needed."""
    ways: list[dict[str, list[str]]] = [{"refresh": []}] if by_cookie else []
    ways += [{"bearer": []}] if access is not Access.ANYONE else []
    ways += [{}] if by_cookie or access is Access.HOLDER else []
    return {"security": ways} if ways else {}
