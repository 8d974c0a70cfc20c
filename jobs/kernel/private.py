"""Private fields: what a command says about people, or in their own words. Whoever is shown a job that is not theirs sees
that something was said there, and not what."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

PRIVATE = object()
"""By it the fields are told whose values are shown to nobody else: `Annotated[str, PRIVATE]`."""

REDACTED = "[redacted]"


def redacted(model: type[BaseModel], body: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent as this model, each private value replaced. A null says nothing, and stays."""
    fields = _fields(model)
    return {name: _shown(fields.get(name), value) for name, value in body.items()}


def is_private(field: FieldInfo) -> bool:
    """Whether a field is marked so, or a part of its type is."""
    return any(part is PRIVATE for part in field.metadata) or _is_marked(field.annotation)


def _is_marked(annotation: Any) -> bool:
    return any(part is PRIVATE or _is_marked(part) for part in get_args(annotation))


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, or may hold, or holds several of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(model_of, get_args(annotation))), None)


def _shown(field: FieldInfo | None, value: Any) -> Any:
    if value is None:
        return None
    if field is None or is_private(field):
        return REDACTED
    model = model_of(field.annotation)
    if model is None:
        return value
    if isinstance(value, Mapping):
        return redacted(model, value)
    return [redacted(model, item) if isinstance(item, Mapping) else REDACTED for item in value]


@cache
def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """By the names under which they are sent."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
