"""Private fields: of every text that a command can hold it is said whether others may see it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel

from jobs.kernel import registry
from jobs.kernel.command import Command
from jobs.kernel.dead_letters import payload
from jobs.kernel.private import PRIVATE, REDACTED, is_private, model_of, redacted
from jobs.kernel.rerun import DeadLetter
from jobs.kernel.submit import new_id

HARMLESS = {
    ("calls.record_status", "sid"): "the carrier's name for a call",
    ("calls.record_status", "answered_by"): "one of the carrier's few words",
    ("dead_letters.discard", "kind"): "a kind",
    ("dead_letters.discard", "code"): "an error's code",
    ("dead_letters.replay", "kind"): "a kind",
    ("dead_letters.replay", "code"): "an error's code",
    ("events.record", "name"): "what sort of thing happened",
    ("orders.amend", "services"): "codes of the catalogue",
    ("orders.place", "services"): "codes of the catalogue",
    ("orders.replace", "services"): "codes of the catalogue",
}
"""Texts that may be shown, and why."""


def texts(model: type[BaseModel]) -> Iterator[str]:
    """Fields, by the names under which they are sent, that may hold text, or anything, and are not marked as private."""
    for name, field in model.model_fields.items():
        if not is_private(field) and holds_text(field.annotation):
            yield field.alias or name
        nested = model_of(field.annotation)
        if nested is not None and not is_private(field):
            yield from (f"{name}.{inner}" for inner in texts(nested))


def holds_text(annotation: Any) -> bool:
    return annotation in (str, Any, dict, object, bytes) or any(holds_text(part) for part in get_args(annotation))


def test_every_text_of_every_kind_is_private_or_known_to_be_harmless() -> None:
    open_ones = {(kind.kind, name) for kind in registry.every() for name in texts(kind)}
    assert open_ones == HARMLESS.keys()


def test_a_text_that_nobody_thought_of_is_found_out() -> None:
    class Inner(BaseModel):
        note: str | None = None
        number: int = 0

    class Outer(BaseModel):
        inner: Inner | None = None
        parts: list[str] = []
        more: dict[str, Any] = {}

    assert list(texts(Outer)) == ["inner.note", "parts", "more"]


def letter(envelope: dict[str, Any] | None) -> DeadLetter:
    now = datetime.now(UTC)
    return DeadLetter(new_id(), "kind", None, 1, 1, None, None, now, None, now, now, None, envelope)


def shown(kind: type[Command] | str, body: Any) -> Any:
    return payload(letter({"kind": kind if isinstance(kind, str) else kind.kind, "body": body}))


@pytest.mark.parametrize(
    ("kind", "body", "seen"),
    [
        (
            "orders.place",
            {"services": ["123"], "total_fee": "1.00", "customer_id": "ada@example.com"},
            {"services": ["123"], "total_fee": "1.00", "customer_id": REDACTED},
        ),
        ("orders.place", {"services": ["123"], "total_fee": "1.00", "customer_id": None}, ...),
        (
            "users.register",
            {"email": "ada@example.com", "name": "Ada", "password": "$argon2id$x"},
            {"email": REDACTED, "name": REDACTED, "password": REDACTED},
        ),
        ("users.amend", {"role": "admin", "disabled": True}, ...),
        (
            "calls.place",
            {"phone_number": "+14155550123", "customer_name": "Ada", "workflow": "support"},
            {"phone_number": REDACTED, "customer_name": REDACTED, "workflow": "support"},
        ),
        (
            "events.record",
            {"name": "invoice.paid", "details": {"to": "Ada"}},
            {"name": "invoice.paid", "details": REDACTED},
        ),
        (
            "tasks.batch",
            {"action": "create", "tasks": [{"title": "Call Ada"}], "set": {"description": "Ada", "priority": "low"}},
            {"action": "create", "tasks": REDACTED, "set": {"description": REDACTED, "priority": "low"}},
        ),
        ("tasks.create", {"title": "Ada", "due_date": None}, {"title": REDACTED, "due_date": None}),
        ("dead_letters.replay", {"kind": "orders.place"}, ...),
        ("events.sweep", {}, ...),
    ],
)
def test_what_was_sent_is_shown_without_what_is_private(kind: str, body: dict[str, Any], seen: Any) -> None:
    assert shown(kind, body) == (body if seen is ... else seen)


@pytest.mark.parametrize("kind", ["orders.gone", "orders.place"])
def test_of_what_cannot_be_read_the_types_alone_are_shown(kind: str) -> None:
    body = {"who": "Ada", "fee": 1.5, "paid": True, "lines": ["Ada"], "more": {"Ada": 1}, "nothing": None, "count": 2}
    types = ("string", "number", "boolean", "array", "object", "null", "number")
    assert shown(kind, body) == dict(zip(body, types, strict=True))


@pytest.mark.parametrize(("body", "seen"), [("Ada", "string"), (["Ada"], "array"), (None, "null")])
def test_a_body_that_is_none_is_shown_as_its_type(body: Any, seen: str) -> None:
    assert shown("orders.gone", body) == seen


def test_of_what_is_lost_nothing_is_shown() -> None:
    assert payload(letter(None)) is None


class Person(BaseModel):
    name: Annotated[str, PRIVATE]
    age: int


class Party(BaseModel):
    guests: list[Person] | None


def test_what_is_private_in_a_list_is_redacted_too() -> None:
    guests = [{"name": "Ada", "age": 36}, "somebody"]
    assert redacted(Party, {"guests": guests}) == {"guests": [{"name": REDACTED, "age": 36}, REDACTED]}
