"""A kind is one declaration; a wrong one fails at import, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from jobs.kernel import registry
from jobs.kernel.command import MOST_BYTES, Command
from jobs.kernel.errors import DeclarationError
from jobs.kernel.policy import Access, Policy
from models import Order, OrderScope

DEFAULT = Policy("default")
BY_US = Policy("default", access=Access.OPERATOR)


def handle(self: Any, ctx: Any, job: Any) -> None:
    """Do nothing."""


def handle_many(cls: Any, ctx: Any, jobs: Sequence[Any]) -> list[Any]:
    """Do nothing."""
    return []


def declare(members: dict[str, Any] | None = None, doc: str | None = "Summary.", **keywords: Any) -> type[Command]:
    """Declare a kind as its class statement would, and forget it again."""
    given = {"kind": "test.declared", "policy": DEFAULT} | keywords
    body = {"__doc__": doc, "__module__": __name__, "handle": handle} | (members or {})
    made = type(Command)("Declared", (Command,), body, **given)
    registry.remove(made)
    return made


def test_a_right_declaration_is_found_by_its_name_and_its_aliases() -> None:
    made = declare(aliases=["test.older"])
    registry.add(made)
    assert registry.find("test.declared") is registry.find("test.older") is made
    registry.remove(made)
    assert registry.find("test.declared") is None


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "kind without a dot": ({"kind": "declared"}, "dotted name"),
    "kind in capitals": ({"kind": "Test.Declared"}, "dotted name"),
    "alias that is none": ({"aliases": ["older"]}, "dotted name"),
    "kind that is taken": ({"kind": "orders.place"}, "already PlaceOrder"),
    "route that is taken": ({"route": "POST /v1/orders"}, "already PlaceOrder"),
    "route without a method": ({"route": "/v1/things"}, "METHOD /v1/path"),
    "route outside /v1": ({"route": "POST /things"}, "METHOD /v1/path"),
    "route with GET": ({"route": "GET /v1/things"}, "METHOD /v1/path"),
    "no docstring": ({"doc": None}, "docstring"),
    "a body larger than a worker may take": ({"most_bytes": MOST_BYTES + 1}, "most_bytes"),
    "a body of nothing": ({"most_bytes": 0}, "most_bytes"),
    "no policy": ({"policy": None}, "policy"),
    "target without {id}": ({"route": "POST /v1/things", "target": Order}, "{id}"),
    "{id} without target": ({"route": "PUT /v1/things/{id}"}, "{id}"),
    "target without an owner": ({"route": "PUT /v1/things/{id}", "target": OrderScope}, "owner_id"),
    "creates without a route": ({"creates": True}, "creates"),
    "creates with {id}": ({"creates": True, "route": "PUT /v1/things/{id}", "target": Order}, "creates"),
    "open to anyone without a route": ({"policy": Policy("default", access=Access.ANYONE)}, "ANYONE"),
    "two handlers": ({"members": {"handle_many": classmethod(handle_many)}}, "one of handle, handle_many and conduct"),
    "no handler": ({"members": {"handle": Command.handle}}, "one of handle, handle_many and conduct"),
    "conduct in a batch": ({"members": {"handle": Command.handle, "conduct": handle}}, "queue of threads"),
    "fields that nobody fills in": (
        {"members": {"__annotations__": {"name": str}, "name": ""}, "every": "call_reconcile_seconds", "policy": BY_US},
        "every= needs",
    ),
    "sent by the scheduler and by users": ({"every": "call_reconcile_seconds"}, "every= needs"),
    "every so many seconds by no setting": ({"every": "reconcile_seconds", "policy": BY_US}, "no setting"),
    "a keyword that there is not": ({"retires": 3}, "retires"),
}


@pytest.mark.parametrize(("keywords", "reason"), WRONG.values(), ids=WRONG)
def test_a_wrong_declaration_is_refused_with_the_reason(keywords: dict[str, Any], reason: str) -> None:
    with pytest.raises(DeclarationError, match="Declared") as refused:
        declare(**keywords)
    assert reason in str(refused.value)
    assert registry.find("test.declared") is None


@pytest.mark.parametrize(
    ("policy", "reason"),
    [({"queue": "ordres"}, "ordres"), ({"queue": "default", "timeout": 0}, "timeout")],
)
def test_a_wrong_policy_is_refused_with_the_reason(policy: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Policy(**policy)
