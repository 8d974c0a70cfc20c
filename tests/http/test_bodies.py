"""What a body may be, and what is said of one that is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from flask import Flask

from api.body import DEEPEST, MOST_PARTS
from jobs.kernel import registry
from jobs.kernel.command import Command
from jobs.kernel.policy import Policy
from tests.http.conftest import ORDER, Client

NULL_IN_STRING = b'{"services": ["123"], "total_fee": "1", "customer_id": "a\\u0000b"}'
HALF_PAIR = b'{"services": ["123"], "total_fee": "1", "customer_id": "\\ud800"}'
HALF_PAIR_NAME = b'{"services": ["123"], "total_fee": "1", "\\ud800": 1}'
TWICE = b'{"services": ["123"], "services": ["123"], "total_fee": "1"}'
LARGEST = 8 << 20


class Letter(Command, kind="test.letter", route="POST /v1/letters", policy=Policy("default"), most_bytes=LARGEST):
    """Send a long letter."""

    text: str = ""
    parts: tuple[int, ...] = ()

    def handle(self, ctx: Any, job: Any) -> None:
        """Nothing is done with it."""


registry.remove(Letter)


@pytest.fixture
def correspondent(make_app: Callable[[], Flask], signed_in: Callable[[Flask, str], Client]) -> Iterator[Client]:
    """Somebody who may send letters."""
    registry.add(Letter)
    yield signed_in(make_app(), "user")
    registry.remove(Letter)


def letter(text: bytes, *, size: int = 0, more: bytes = b"") -> bytes:
    """A letter, made as long as `size`."""
    return b'{"text": "%s"%s}' % (text + b"x" * (size - len(b'{"text": ""}') - len(text + more)), more)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"{'services': []}",
        b'{"services": ["123"], "total_fee": NaN}',
        b'{"services": ["123"], "total_fee": -Infinity}',
        b'{"services": ["\xff"], "total_fee": "1"}',
        b"\xef\xbb\xbf{}",
        '{"services": ["123"], "total_fee": "1"}'.encode("utf-16"),
        b'{"a": 1} {"b": 2}',
        b"[" * 100_000,
        b'{"services": ' + b"[" * 400 + b"]" * 400 + b"}",
        b'{"a\\u0041": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a": 1, "a": ' + b'{"b":' * 900 + b"1" + b"}" * 900 + b"}",
        b'{"total_fee": ' + b"9" * 5_000 + b"}",
        b'{"services": ["a\nb"]}',
    ],
    ids=repr,
)
def test_what_is_not_json_is_a_400(user: Client, body: bytes) -> None:
    answer = user.raw(body)
    assert answer.status_code == 400
    assert answer.get_json()["code"] == "malformed_json"


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[", "]"), ('{"a": ', "}"), ('[{"a":', "}]"), ('["]", ', "]"), ('{"}\\"]":', "}")],
    ids=repr,
)
def test_a_body_is_nested_at_most_so_deep(user: Client, opening: str, closing: str) -> None:
    times = DEEPEST // (opening.count("[") + opening.count("{"))
    deepest = opening * times + "1" + closing * times
    assert user.raw(deepest.encode()).status_code == 422
    answer = user.raw(f"[{deepest}]".encode())
    assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed_json")
    assert "nested more than 32 levels deep" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    "text", ["[" * 64, '{"' * 64, '\\"' + "[" * 64, "\\" * 3 + '"' + "{[" * 64, '"' * 65 + "["], ids=repr
)
def test_brackets_in_strings_and_beside_each_other_are_no_depth(user: Client, text: str) -> None:
    answer = user.post("/v1/orders", ORDER | {"customer_id": text, text: [[], {}] * 64})
    assert (answer.status_code, answer.get_json()["code"]) == (422, "validation_failed")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"[{", b'["\\"",'], ids=repr)
def test_a_body_of_nothing_but_openings_is_turned_away(user: Client, opening: bytes) -> None:
    answer = user.raw(opening * ((1 << 20) // len(opening)))
    assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed_json")
    assert "nested" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"[]", {""}),
        (b"null", {""}),
        (b'"order"', {""}),
        (b"{}", {"services", "total_fee"}),
        (json.dumps(ORDER | {"colour": 1, "size": 2}).encode(), {"colour", "size"}),
        (json.dumps(ORDER | {"services": []}).encode(), {"services"}),
        (json.dumps(ORDER | {"services": "123"}).encode(), {"services"}),
        (json.dumps(ORDER | {"services": ["123", 4]}).encode(), {"services.1"}),
        (json.dumps(ORDER | {"services": ["123", "123"]}).encode(), {"services"}),
        (json.dumps(ORDER | {"total_fee": -1}).encode(), {"total_fee"}),
        (json.dumps(ORDER | {"total_fee": "1.001"}).encode(), {"total_fee"}),
        (json.dumps(ORDER | {"total_fee": True}).encode(), {"total_fee"}),
        (b'{"services": ["123"], "total_fee": 1e999}', {"total_fee"}),
        (b'{"services": ["123"], "total_fee": "NaN"}', {"total_fee"}),
        (json.dumps(ORDER | {"customer_id": ""}).encode(), {"customer_id"}),
        (json.dumps(ORDER | {"customer_id": "x" * 65}).encode(), {"customer_id"}),
        (json.dumps(ORDER | {"scheduled_for": "tomorrow"}).encode(), {"scheduled_for"}),
        (json.dumps(ORDER | {"scheduled_for": "2026-01-01T00:00:00"}).encode(), {"scheduled_for"}),
        (json.dumps(ORDER | {"if_too_soon": "perhaps"}).encode(), {"if_too_soon"}),
        (NULL_IN_STRING, {"customer_id"}),
        (HALF_PAIR, {"customer_id"}),
        (HALF_PAIR_NAME, {"\\ud800", "?"}),
        (TWICE, {"services"}),
        (b'{"services": [], "total_fee": "x", "services": [], "colour": 1}', {"services", "total_fee", "colour"}),
    ],
    ids=lambda value: repr(sorted(value) if isinstance(value, set) else value),
)
def test_every_wrong_field_is_named_at_once(user: Client, body: bytes, fields: set[str]) -> None:
    answer = user.raw(body)
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (422, "validation_failed")
    assert {error["field"] for error in problem["errors"]} == fields
    assert all(error["message"] for error in problem["errors"])


def test_errors_of_query_headers_and_body_come_together(user: Client) -> None:
    headers = {"Idempotency-Key": "é", "Prefer": "wait=31"}
    answer = user.post("/v1/orders?run_at=soon&colour=red", {"services": ["123"]}, headers=headers)
    fields = {error["field"] for error in answer.get_json()["errors"]}
    assert fields == {"total_fee", "run_at", "colour", "Idempotency-Key", "Prefer"}


def test_a_hostile_body_gets_a_short_answer(user: Client) -> None:
    answer = user.post("/v1/orders", {f"field{number}": 1 for number in range(20_000)})
    assert answer.status_code == 422
    assert len(answer.data) < 20_000


@pytest.mark.parametrize("fee", [100, 100.5, "100", "100.00", 0])
def test_money_may_be_a_number_or_a_decimal_string(user: Client, fee: Any) -> None:
    assert user.post("/v1/orders", ORDER | {"total_fee": fee}).status_code == 202


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 202),
        ("application/json; charset=UTF-8", 202),
        ("application/merge-patch+json", 202),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        (None, 415),
    ],
)
def test_only_json_in_utf8_is_taken(user: Client, content_type: str | None, status: int) -> None:
    answer = user.raw(json.dumps(ORDER).encode(), content_type=content_type)
    assert answer.status_code == status
    if status == 415:
        assert answer.get_json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize(("size", "status"), [(1 << 20, 422), ((1 << 20) + 1, 413)])
def test_a_body_is_at_most_1_mib(user: Client, size: int, status: int) -> None:
    empty = len(b'{"services": ["123"], "total_fee": "1", "customer_id": ""}')
    body = b'{"services": ["123"], "total_fee": "1", "customer_id": "%s"}' % (b"x" * (size - empty))
    assert len(body) == size
    assert user.raw(body).status_code == status


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(("size", "status"), [(LARGEST, 202), (LARGEST + 1, 413)])
def test_a_kind_may_take_larger_bodies(correspondent: Client, size: int, status: int, announced: bool) -> None:
    body = letter(b"", size=size)
    assert len(body) == size
    sent: dict[str, Any] = {"data": body} if announced else {"input_stream": BytesIO(body)}
    answer = correspondent(
        "POST",
        "/v1/letters",
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
        **sent,
    )
    assert answer.status_code == status, answer.get_json()
    assert status == 202 or answer.get_json()["code"] == "body_too_large"


def test_what_one_kind_may_take_is_too_large_for_others(correspondent: Client) -> None:
    assert correspondent.raw(letter(b"", size=(1 << 20) + 1)).status_code == 413


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        (b', "text": "again"', ["text"]),
        (b', "parts": [0, {}]', ["parts.1"]),
        (b', "parts": ["\\ud800"]', ["parts.0", "parts.0"]),
    ],
    ids=["repeated", "wrong", "half a pair"],
)
def test_a_large_body_is_read_as_closely_as_any(correspondent: Client, more: bytes, fields: list[str]) -> None:
    answer = correspondent.raw(letter("é".encode(), size=LARGEST // 2, more=more), "/v1/letters")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json()["errors"]] == fields


@pytest.mark.parametrize(
    ("text", "parts", "status"),
    [
        (b"", MOST_PARTS, 202),
        (b"", MOST_PARTS + 1, 413),
        (b"," * MOST_PARTS, 9, 202),
        (b'\\",' * MOST_PARTS, 9, 202),
        (b"\\\\", MOST_PARTS + 1, 413),
    ],
    ids=["most", "too many", "in a string", "behind quotes in a string", "behind a backslash"],
)
def test_a_large_body_has_room_for_long_texts_and_not_for_more_values(
    correspondent: Client, text: bytes, parts: int, status: int
) -> None:
    more = b', "parts": [%s]' % b",".join([b"1"] * parts)
    answer = correspondent.raw(letter(text, size=3 << 20, more=more), "/v1/letters")
    assert answer.status_code == status, answer.get_json()


@pytest.mark.parametrize(
    ("body", "status"), [(None, 202), (b"", 202), (b"{}", 202), (b'{"a": 1}', 422), (b"{", 400), (b"[]", 422)]
)
def test_a_delete_needs_no_body(user: Client, order_of: Any, body: bytes | None, status: int) -> None:
    more: dict[str, Any] = {} if not body else {"data": body, "content_type": "application/json"}
    assert user("DELETE", f"/v1/orders/{order_of('user')}", **more).status_code == status


def test_values_are_never_repeated_in_an_answer(user: Client) -> None:
    answer = user.post("/v1/orders", ORDER | {"customer_id": ["secret-value"]})
    assert answer.status_code == 422
    assert b"secret-value" not in answer.data
