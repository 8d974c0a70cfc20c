"""The OpenAPI 3.1 document: writes from the registry of kinds, the rest from what each route says of itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import orjson
from apispec import APISpec
from flask import Flask, Response, current_app
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api import components, documented, operations, schemas
from api.access import access_of
from api.documented import Documented
from api.reads.conditional import tagged
from api.shapes import Problem
from jobs.kernel import registry
from jobs.kernel.command import Command
from jobs.kernel.policy import Access

VERSION = "1.0.0"
INTRODUCTION = """A write answered with 202 is durable, takes effect exactly once, and its outcome can always be found out.

Every write becomes a job: follow `Location`, or ask to wait with `Prefer: wait=N`. Errors are
`application/problem+json` (RFC 9457); `code` is the part meant for programs. Times are RFC 3339 in UTC, money is a
decimal string. Someone else's resource is answered like one that does not exist."""
PARAMETER = re.compile(r"<(?:[^:<>]+:)?(\w+)>")
HIDDEN = frozenset({"static", "docs.asset"})
"""Endpoints that serve parts of a page, and are no operation."""


def register(app: Flask) -> None:
    """Serve the document of `app` at /openapi.json; it is made when first asked for, when all routes are known."""
    app.add_url_rule("/openapi.json", "openapi", serve, methods=["GET"])


@documented.documented("This document", response="application/json", tag="system", conditional=True)
def serve() -> Response:
    """The document, kept in the app, with a strong ETag."""
    if (kept := current_app.extensions.get("millrace.openapi")) is None:
        text = orjson.dumps(document(current_app))
        kept = current_app.extensions["millrace.openapi"] = (text, hashlib.sha256(text).hexdigest()[:16])
    response = tagged(*kept)
    response.headers["Cache-Control"] = "no-cache"
    return response


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of all routes of `app`, as JSON values: of kinds, and of views that are `@documented`."""
    routes = list(_routes(app))
    spec = APISpec(
        title="Millrace",
        version=VERSION,
        openapi_version="3.1.0",
        info={"description": INTRODUCTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/"}],
        tags=[{"name": name} for name in sorted({_tag(path, said) for path, _, said, _ in routes})],
    )
    names = _schemas(spec, [said for _, _, said, _ in routes])
    components.enter(spec, names)
    for path, method, said, access in routes:
        if isinstance(said, Documented):
            operation = operations.of_view(path, method, said, access, names)
        else:
            operation = operations.of_command(said, names)
        spec.path(path=path, operations={method: {"tags": [_tag(path, said)], **operation}})
    made: dict[str, Any] = spec.to_dict()
    return made


def _routes(app: Flask) -> Iterator[tuple[str, str, Documented | type[Command], Access]]:
    """Path, method in lower case, what is known of it, and who may use it, for each operation of the app."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        path = PARAMETER.sub(r"{\1}", rule.rule)
        if rule.endpoint in HIDDEN:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            view = app.view_functions[rule.endpoint]
            said = registry.find(rule.endpoint) or documented.of(view)
            if said is not None:
                yield path, method.lower(), said, access_of(view)


def _tag(path: str, said: Documented | type[Command]) -> str:
    """The group an operation is shown in: what it says, or else the collection in its path."""
    if isinstance(said, Documented) and said.tag:
        return said.tag
    return path.removeprefix("/v1/").split("/", 1)[0]


def _schemas(spec: APISpec, routes: list[Documented | type[Command]]) -> components.Names:
    """Enter every model into the components; the reference of each, by model and by whether it goes in or out."""
    inputs: dict[type[BaseModel], None] = {}
    outputs: dict[type[BaseModel], None] = dict.fromkeys((schemas.Job, Problem))
    for said in routes:
        if isinstance(said, Documented):
            outputs |= {model: None for answer in said.responses.values() if (model := documented.model_of(answer))}
            inputs |= {model: None for model in (said.body, said.form, said.lines) if model}
        elif said.model_fields:
            inputs[said] = None
    asked: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in inputs]
    asked += [(model, "serialization") for model in outputs]
    references, whole = models_json_schema(asked, ref_template="#/components/schemas/{model}")
    partial = {
        said.__name__ for said in inputs if issubclass(said, Command) and said.route and said.route.method == "PATCH"
    }
    for name, schema in whole["$defs"].items():
        if name in partial:
            _forget_defaults(schema)
        spec.components.schema(name, schema)
    return {model: references[model, mode] for model, mode in asked}


def _forget_defaults(schema: dict[str, Any]) -> None:
    """What a PATCH leaves out stays as it is: the default of a field is never what it is set to."""
    for member in schema["properties"].values():
        member.pop("default", None)
