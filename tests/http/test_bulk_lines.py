"""What a bulk and its lines may be, and what is said of those that are not: on the line, and nowhere else (CONTRACT.md §1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from redis import Redis

from api.body import DEEPEST, MOST_PARTS
from api.bulk import MOST_BYTES
from jobs.kernel import keys
from tests.events import EVENT
from tests.http.bulks import NDJSON, Line, bulk, fields, place, post, refusal, statuses, told
from tests.http.conftest import ORDER, Client

TITLE: Line = {"kind": "tasks.create", "body": {"title": "One"}}


def batch(size: int) -> bytes:
    """A line with a batch of tasks, made as long as `size`."""
    empty = b'{"kind": "tasks.batch", "body": {"action": "create", "tasks": [{"title": "One", "description": "%s"}]}}'
    return empty % (b"x" * (size - len(empty) + 2))


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/x-ndjson", 200),
        ("application/x-ndjson; charset=UTF-8", 200),
        ("application/x-ndjson; charset=latin-1", 415),
        ("application/json", 415),
        ("application/octet-stream", 415),
        ("text/plain", 415),
        (None, 415),
    ],
)
def test_only_lines_of_json_in_utf8_are_taken(user: Client, content_type: str | None, status: int) -> None:
    answer = post(user, [place()], content_type=content_type)
    assert answer.status_code == status
    assert status == 200 or answer.get_json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n", b" \n\t\n\n"], ids=repr)
def test_a_bulk_has_a_line(user: Client, body: bytes) -> None:
    answer = user.raw(body, "/v1/bulk", content_type=NDJSON)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "no_lines")


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"], ids=repr)
@pytest.mark.parametrize("between", [b"\n", b"\r\n", b" \n\t"], ids=repr)
def test_lines_end_as_lines_may(user: Client, between: bytes, ending: bytes) -> None:
    line = json.dumps(place()).encode()
    body = between.join([line] * 3) + ending
    assert statuses(told(user.raw(body, "/v1/bulk", content_type=NDJSON))) == [202] * 3


@pytest.mark.parametrize("blank", [b"", b"\r", b"  \t"], ids=repr)
def test_a_blank_line_in_between_is_a_bad_one(user: Client, blank: bytes) -> None:
    outcomes = bulk(user, [place(), blank, place()])
    assert statuses(outcomes) == [202, 400, 202]
    assert refusal(outcomes[1]) == (400, "malformed_json")


@pytest.mark.parametrize("query", ["run_at=2030-01-01T00:00:00Z", "priority=high", "colour=red"])
def test_what_belongs_into_lines_is_refused_in_the_query(user: Client, query: str) -> None:
    answer = user.raw(json.dumps(place()).encode(), f"/v1/bulk?{query}", content_type=NDJSON)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "validation_failed")
    assert [error["field"] for error in answer.get_json()["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"{'kind': 'orders.place'}",
        b'{"kind": "orders.place"} {}',
        b'\xef\xbb\xbf{"kind": "orders.place"}',
        b'{"kind": "orders.place", "body": {"services": ["\xff"]}}',
        b'{"kind": "orders.place", "body": {"total_fee": NaN}}',
        b'{"kind": "orders.place", "body": {"total_fee": ' + b"9" * 5_000 + b"}}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\0",
    ],
    ids=lambda line: repr(line[:30]),
)
def test_what_is_not_json_is_a_400_on_its_line(user: Client, line: bytes) -> None:
    outcomes = bulk(user, [place(), line, place()])
    assert statuses(outcomes) == [202, 400, 202]
    assert refusal(outcomes[1]) == (400, "malformed_json")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b"[]", {""}),
        (b"null", {""}),
        (b"{}", {"kind"}),
        (b'{"kind": 1, "run_at": "soon", "colour": 1}', {"kind", "run_at", "colour"}),
        ({"kind": "orders.place"}, {"body"}),
        ({"kind": "orders.place", "body": None}, {"body"}),
        ({"kind": "orders.place", "body": []}, {"body"}),
        ({"kind": "orders.place", "body": {}}, {"body.services", "body.total_fee"}),
        (place(body=ORDER | {"colour": 1, "total_fee": -1}), {"body.colour", "body.total_fee"}),
        (place(body=ORDER | {"services": ["123", 4]}), {"body.services.1"}),
        (place(colour="red", run_at="2026-01-01", priority="urgent"), {"colour", "run_at", "priority"}),
        (place(run_at="9999-01-01T00:00:00Z"), {"run_at"}),
        (place(run_at=1767225600), {"run_at"}),
        (place(target="0198c2d4-1b0a-7e55-8f4e-5a6b7c8d9e0f"), {"target"}),
        (place(if_match='"v1"'), {"if_match"}),
        ({"kind": "orders.delete"}, {"target"}),
        ({"kind": "orders.delete", "target": 1, "if_match": 1}, {"target", "if_match"}),
        ({"kind": "orders.delete", "target": "x", "body": {"a": 1}}, {"body.a"}),
        ({"kind": "tasks.create", "body": {"title": "", "priority": 1}, "priority": 1}, {"body.title", "body.priority", "priority"}),
        (b'{"kind": "orders.place", "kind": "orders.place", "body": {}}', {"kind", "body.services", "body.total_fee"}),
        (b'{"kind": "orders.place", "body": {"services": ["1"], "services": ["1"], "total_fee": 1}}', {"body.services"}),
        (b'{"kind": "orders.place", "body": {"services": ["1"], "total_fee": 1, "customer_id": "\\u0000"}}', {"body.customer_id"}),
        (b'{"kind": "orders.place", "body": {"services": ["1"], "total_fee": 1, "customer_id": "\\ud800"}}', {"body.customer_id"}),
        (b'{"kind": "orders.place", "body": {"services": ["1"], "total_fee": 1e999}}', {"body.total_fee"}),
    ],
    ids=lambda given: "-".join(sorted(given)) if isinstance(given, set) else repr(given),
)  # fmt: skip
def test_every_wrong_member_of_a_line_is_named(user: Client, line: Line | bytes, wrong: set[str]) -> None:
    outcomes = bulk(user, [place(), line, place()])
    assert statuses(outcomes) == [202, 422, 202]
    assert set(fields(outcomes[1])) == wrong


@pytest.mark.parametrize("member", ["idempotency_key", "run_at"])
def test_what_is_null_is_not_there(user: Client, member: str) -> None:
    assert statuses(bulk(user, [place(**{member: None})])) == [202]


@pytest.mark.parametrize("deep", [DEEPEST, DEEPEST + 1])
def test_a_body_nests_as_deep_in_a_line_as_alone(user: Client, deep: int) -> None:
    details: Any = 1
    for _ in range(deep - 1):
        details = {"a": details}
    body = EVENT | {"details": details}
    alone = user.post("/v1/events", body)
    (outcome,) = bulk(user, [{"kind": "events.record", "body": body}])
    assert outcome["status"] == alone.status_code == (202 if deep <= DEEPEST else 400)


@pytest.mark.parametrize(("size", "status"), [((1 << 20) - 60, 422), ((1 << 20) + 1, 413)])
def test_a_line_is_no_larger_than_its_kind_takes(user: Client, size: int, status: int) -> None:
    empty = json.dumps(place("")).encode()
    line = json.dumps(place("x" * (size - len(empty)))).encode()
    assert len(line) == size
    outcomes = bulk(user, [place(), line, place()])
    assert statuses(outcomes) == [202, status, 202]
    assert status == 422 or refusal(outcomes[1]) == (413, "body_too_large")


def test_a_line_may_be_as_large_as_its_kind_takes(user: Client, redis: Redis) -> None:
    outcomes = bulk(user, [place("a"), batch(5 << 20), place("b"), batch(2 << 20)])
    assert statuses(outcomes) == [202] * 4
    assert redis.llen(keys.queue("tasks")) == 2


def test_a_large_line_has_no_more_values_than_a_large_body(user: Client) -> None:
    many = b'{"kind": "tasks.batch", "body": {"action": "create", "tasks": [%s]}}' % b",".join(
        [b"1234"] * (MOST_PARTS + 2)
    )
    assert len(many) > 1 << 20
    outcomes = bulk(user, [many, place()])
    assert (refusal(outcomes[0]), outcomes[1]["status"]) == ((413, "body_too_large"), 202)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(("size", "status"), [(MOST_BYTES, 200), (MOST_BYTES + 1, 413)])
def test_a_bulk_is_at_most_8_mib(user: Client, redis: Redis, size: int, status: int, announced: bool) -> None:
    body = json.dumps(place()).encode() + b"\n"
    body += batch(size - len(body))
    assert len(body) == size
    sent: dict[str, Any] = {"data": body} if announced else {"input_stream": BytesIO(body)}
    answer = user("POST", "/v1/bulk", content_type=NDJSON, environ_overrides={"wsgi.input_terminated": True}, **sent)
    assert answer.status_code == status
    assert redis.llen(keys.queue("orders")) == (1 if status == 200 else 0)
    assert status == 200 or answer.get_json()["code"] == "body_too_large"


def test_newlines_alone_are_too_many_lines(user: Client) -> None:
    answer = user.raw(b"\n" * MOST_BYTES, "/v1/bulk", content_type=NDJSON)
    assert (answer.status_code, answer.get_json()["code"]) == (413, "too_many_lines")


def test_a_thousand_lines_that_are_all_wrong_are_answered_one_by_one(user: Client) -> None:
    members = {f"member-{number}": number for number in range(300)}
    outcomes = bulk(user, [place(body=members)] * 1000)
    assert {len(one["error"]["errors"]) for one in outcomes} == {100}


def test_values_are_never_repeated_in_an_answer(user: Client) -> None:
    wrong = [
        place(body=ORDER | {"customer_id": ["secret-value"]}),
        {"kind": "secret-value"},
        place(priority="secret-value"),
    ]
    outcomes = bulk(user, [*wrong, b'{"secret-value', {"kind": "orders.delete", "target": "secret-value"}])
    assert statuses(outcomes) == [422, 422, 422, 400, 404]
    assert "secret-value" not in json.dumps(outcomes)


def test_a_token_is_needed_and_is_looked_at_before_the_body(nobody: Client, user: Client) -> None:
    answer = post(nobody, [b"{"])
    assert (answer.status_code, answer.get_json()["code"]) == (401, "unauthenticated")
    user.post("/v1/auth/logout")
    answer = post(user, [place()])
    assert (answer.status_code, answer.get_json()["code"]) == (401, "session_ended")


def test_what_is_checked_against_the_settings_is_told_on_its_line(
    make_app: Callable[..., Any], signed_in: Callable[..., Client]
) -> None:
    client = signed_in(make_app(call_countries=("DE",)), "user")
    call = {"phone_number": "+14155550123", "customer_name": "Ada", "workflow": "support"}
    outcomes = bulk(client, [{"kind": "calls.place", "body": call}, TITLE])
    assert statuses(outcomes) == [422, 202]
    assert refusal(outcomes[0]) == (422, "country_not_allowed")
