"""Calls, read: whose, which, in which order, and with all that has become of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.call_schemas import Call, CallPage
from models.call import Status
from tests.http.conftest import Client

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ABSENT = "0198c2f0-6f1e-7c3a-9b51-3d2f6a7b8c9d"

Call_of = Callable[..., str]
Happened = Callable[..., None]


@pytest.fixture
def place(call_of: Call_of) -> Call_of:
    """Put a call into the table, created so many minutes after noon."""

    def make(minutes: float = 0, who: str = "user", **more: Any) -> str:
        moment = NOON + timedelta(minutes=minutes)
        return call_of(who, created_at=moment, updated_at=moment, **more)

    return make


@pytest.fixture
def happened(execute: Callable[..., Any]) -> Happened:
    """Note that a call has come to a status, so many seconds after noon."""

    def note(call_id: str, status: str, seconds: float, source: str = "callback") -> None:
        moment = NOON + timedelta(seconds=seconds)
        execute(
            "INSERT INTO call_events (call_id, status, at, source, sequence) VALUES (%s, %s, %s, %s, 1)",
            *(call_id, status, moment, source),
        )

    return note


def ids(client: Client, query: str = "") -> list[str]:
    answer = client.get(f"/v1/calls?{query}")
    assert answer.status_code == 200, answer.get_json()
    return [call["id"] for call in answer.get_json()["data"]]


def test_a_call_is_shown_with_its_timeline(
    user: Client, place: Call_of, happened: Happened, people: dict[str, Any]
) -> None:
    more = {"sid": "CA" + "0" * 32, "duration": 42, "answered_by": "human", "reason": "why", "version": 4}
    call_id = place(phone_number="+15005550001", customer_name="Ada", workflow="sales", **more)
    # as they were heard of, which is not how they came to be
    happened(call_id, "completed", 60)
    happened(call_id, "dialing", 0, "worker")
    happened(call_id, "ringing", 61)
    answer = user.get(f"/v1/calls/{call_id}")
    listed = {
        "id": call_id,
        "user_id": str(people["user"].id),
        "phone_number": "+15005550001",
        "customer_name": "Ada",
        "workflow": "sales",
        "status": "completed",
        "created_at": "2026-01-31T12:00:00.000000Z",
        "updated_at": "2026-01-31T12:00:00.000000Z",
        **more,
    }
    timeline = [
        {"status": "dialing", "at": "2026-01-31T12:00:00.000000Z", "source": "worker"},
        {"status": "ringing", "at": "2026-01-31T12:01:01.000000Z", "source": "callback"},
        {"status": "completed", "at": "2026-01-31T12:01:00.000000Z", "source": "callback"},
    ]
    assert answer.get_json() == listed | {"timeline": timeline}
    assert answer.headers["ETag"] == '"v4"'
    Call.model_validate_json(answer.get_data())
    assert user.get("/v1/calls").get_json()["data"] == [listed]
    CallPage.model_validate_json(user.get("/v1/calls").get_data())


@pytest.mark.parametrize("status", Status)
def test_a_call_can_be_shown_in_every_status(status: Status, user: Client, place: Call_of, happened: Happened) -> None:
    call_id = place(status=status)
    assert user.get(f"/v1/calls/{call_id}").get_json()["timeline"] == []
    happened(call_id, status, 0)
    shown = user.get(f"/v1/calls/{call_id}").get_json()
    assert (shown["status"], [each["status"] for each in shown["timeline"]]) == (status, [status])


def test_what_has_not_changed_is_not_sent_again(user: Client, place: Call_of, execute: Callable[..., Any]) -> None:
    path = f"/v1/calls/{place(status='ringing')}"
    tag = {"If-None-Match": user.get(path).headers["ETag"]}
    assert user.get(path, headers=tag).status_code == 304
    execute("UPDATE calls SET status = 'in_progress', version = version + 1")
    assert user.get(path, headers=tag).get_json()["status"] == "in_progress"


def test_the_list_has_ones_own_newest_first(user: Client, other: Client, admin: Client, place: Call_of) -> None:
    first, second, foreign = place(1), place(2), place(3, "other")
    assert ids(user) == [second, first]
    assert ids(user, "sort=created_at") == [first, second]
    assert ids(other) == [foreign]
    assert ids(admin) == [foreign, second, first]


@pytest.mark.parametrize("events", ["", "/events"])
def test_someone_elses_call_is_answered_like_one_that_does_not_exist(
    events: str, user: Client, admin: Client, place: Call_of
) -> None:
    same_id = {"headers": {"X-Request-ID": "same"}}
    of_other = place(who="other")
    answers = [user.get(f"/v1/calls/{each}{events}", **same_id) for each in (of_other, ABSENT, "no-uuid")]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert len({answer.get_data() for answer in answers}) == 1
    assert admin.get(f"/v1/calls/{of_other}{events}").status_code == 200


def test_filters_narrow_the_list(user: Client, place: Call_of) -> None:
    live = place(1, status="in_progress", workflow="support")
    over = place(2, status="completed", workflow="sales")
    place(3, "other", status="completed", workflow="sales")
    assert ids(user, "status=in_progress") == [live]
    assert ids(user, "status=completed&workflow=sales") == [over]
    assert ids(user, "status=completed&workflow=support") == []
    assert ids(user, "workflow=reminder") == []


@pytest.mark.parametrize("sort", ["-created_at", "created_at"])
def test_pages_hold_every_call_once_while_others_come_in(sort: str, user: Client, place: Call_of) -> None:
    placed = {place(minutes // 3, workflow="sales") for minutes in range(12)}
    seen, cursor = [], ""
    while True:
        page = user.get(f"/v1/calls?limit=5&workflow=sales&sort={sort}{cursor}").get_json()
        seen += [call["id"] for call in page["data"]]
        if page["meta"]["next_cursor"] is None:
            break
        cursor = f"&cursor={page['meta']['next_cursor']}"
        place(100 if sort.startswith("-") else -100, workflow="sales")  # lands on a page that was seen already
    assert len(seen) == len(set(seen))
    assert set(seen) == placed


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=on-the-moon", "status"),
        ("status=", "status"),
        ("status=busy&status=failed", "status"),
        ("workflow=spam", "workflow"),
        ("sort=duration", "sort"),
        ("phone_number=%2B15005550001", "phone_number"),
        ("limit=101", "limit"),
        ("cursor=abc", "cursor"),
    ],
)
def test_a_query_that_is_wrong_is_told_by_field(query: str, field: str, user: Client) -> None:
    answer = user.get(f"/v1/calls?{query}")
    assert (answer.status_code, [error["field"] for error in answer.get_json()["errors"]]) == (422, [field])
