"""Bulks as clients send them."""

from __future__ import annotations

import json
from typing import Any

from werkzeug.test import TestResponse

from tests.http.conftest import ORDER, Client

NDJSON = "application/x-ndjson"
Line = dict[str, Any]


def place(customer: str = "c", **more: Any) -> Line:
    """A line that places an order. `more`: its other members."""
    return {"kind": "orders.place", "body": ORDER | {"customer_id": customer}} | more


def post(client: Client, lines: list[Line | bytes], **more: Any) -> TestResponse:
    """Send a bulk, whatever it is answered."""
    spelled = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return client.raw(b"\n".join(spelled), "/v1/bulk", **({"content_type": NDJSON} | more))


def told(answer: TestResponse) -> list[Line]:
    """What became of each line."""
    assert (answer.status_code, answer.content_type) == (200, NDJSON), answer.text
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def bulk(client: Client, lines: list[Line | bytes], **more: Any) -> list[Line]:
    """Send a bulk; what became of each line, as many as there were."""
    outcomes = told(post(client, lines, **more))
    assert len(outcomes) == len(lines)
    return outcomes


def statuses(outcomes: list[Line]) -> list[int]:
    return [outcome["status"] for outcome in outcomes]


def ids(outcomes: list[Line]) -> list[str]:
    """The jobs of lines that were all accepted."""
    assert set(statuses(outcomes)) == {202}, outcomes
    return [outcome["job"]["id"] for outcome in outcomes]


def refusal(outcome: Line) -> tuple[int, str]:
    """The status and the code of a line that was refused."""
    assert outcome["error"]["status"] == outcome["status"]
    return outcome["status"], outcome["error"]["code"]


def fields(outcome: Line) -> list[str]:
    """The fields that are wrong with a line."""
    assert refusal(outcome) == (422, "validation_failed")
    return [error["field"] for error in outcome["error"]["errors"]]
