"""Events, read: whose, which, in which order, and of whom."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.schemas import Event, EventPage
from models.event import Delivery
from tests.conftest import Person
from tests.http.conftest import Client

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ABSENT = "0198c2f0-6f1e-7c3a-9b51-3d2f6a7b8c9d"

Place = Callable[..., str]
People = dict[str, Person]


@pytest.fixture
def place(event_of: Callable[..., str]) -> Place:
    """Put an event into the table, created so many minutes after noon."""

    def make(minutes: float = 0, who: str = "user", **columns: Any) -> str:
        return event_of(who, created_at=NOON + timedelta(minutes=minutes), **columns)

    return make


@pytest.fixture(params=["/v1/events", "/v1/events/user/{user}"])
def path(request: pytest.FixtureRequest, people: People) -> str:
    """Both lists: of one's own, or of all, and of one user."""
    found: str = request.param.format(user=people["user"].id)
    return found


def ids(client: Client, path: str, **query: Any) -> list[str]:
    answer = client.get(path, query_string=query)
    assert answer.status_code == 200, answer.get_json()
    return [event["id"] for event in answer.get_json()["data"]]


@pytest.mark.parametrize("delivery", Delivery)
def test_an_event_is_shown_as_documented(delivery: Delivery, user: Client, place: Place, people: People) -> None:
    told = {"delivery": delivery, "delivered_at": NOON, "reason": "why", "version": 3}
    event_id = place(name="invoice.paid", details='{"invoice": {"lines": [1, 2.5, null]}}', **told)
    answer = user.get(f"/v1/events/{event_id}")
    shown = {
        "id": event_id,
        "user_id": str(people["user"].id),
        "name": "invoice.paid",
        "details": {"invoice": {"lines": [1, 2.5, None]}},
        "created_at": "2026-01-31T12:00:00.000000Z",
        **told,
        "delivered_at": "2026-01-31T12:00:00.000000Z",
    }
    assert (answer.status_code, answer.get_json(), answer.headers["ETag"]) == (200, shown, '"v3"')
    Event.model_validate_json(answer.get_data())
    assert user.get(f"/v1/events/{event_id}", headers={"If-None-Match": '"v3"'}).status_code == 304
    listed = user.get("/v1/events")
    EventPage.model_validate_json(listed.get_data())
    assert listed.get_json()["data"] == [shown]


def test_the_list_has_ones_own_newest_first(user: Client, other: Client, admin: Client, place: Place) -> None:
    first, second, foreign = place(1), place(2), place(3, "other")
    assert ids(user, "/v1/events") == [second, first]
    assert ids(user, "/v1/events", sort="created_at") == [first, second]
    assert ids(other, "/v1/events") == [foreign]
    assert ids(admin, "/v1/events") == [foreign, second, first]


def test_someone_elses_event_is_answered_like_one_that_does_not_exist(
    user: Client, admin: Client, place: Place
) -> None:
    same_id = {"headers": {"X-Request-ID": "same"}}
    foreign = place(who="other")
    answers = [user.get(f"/v1/events/{each}", **same_id) for each in (foreign, ABSENT, "no-uuid", "user")]
    assert {(answer.status_code, answer.get_data()) for answer in answers} == {(404, answers[0].get_data())}
    assert admin.get(f"/v1/events/{foreign}").status_code == 200


def test_the_events_of_a_user_are_for_them_and_for_admins(
    user: Client, admin: Client, place: Place, people: People
) -> None:
    mine, foreign = place(1), place(2, "other")
    assert ids(user, f"/v1/events/user/{people['user'].id}") == [mine]
    assert ids(admin, f"/v1/events/user/{people['user'].id}") == [mine]
    assert ids(admin, f"/v1/events/user/{people['other'].id}") == [foreign]
    assert ids(admin, f"/v1/events/user/{people['admin'].id}") == []


def test_the_events_of_somebody_else_are_answered_like_those_of_nobody(
    user: Client, admin: Client, place: Place, people: People
) -> None:
    place(who="other")
    same_id = {"headers": {"X-Request-ID": "same"}}
    answers = [user.get(f"/v1/events/user/{people['other'].id}", **same_id)]
    answers += [client.get(f"/v1/events/user/{each}", **same_id) for client in (user, admin) for each in (ABSENT, "x")]
    assert {(answer.status_code, answer.get_data()) for answer in answers} == {(404, answers[0].get_data())}


def test_an_admin_can_still_see_what_was_recorded_of_somebody_who_was_deleted(
    admin: Client, place: Place, people: People, execute: Callable[..., Any]
) -> None:
    event_id = place(who="other")
    execute("UPDATE users SET deleted_at = now() WHERE id = %s", str(people["other"].id))
    assert ids(admin, f"/v1/events/user/{people['other'].id}") == [event_id]


def test_filters_narrow_both_lists(path: str, user: Client, place: Place) -> None:
    paid = place(1, name="invoice.paid", delivery="delivered")
    sent = place(2, name="invoice.sent", delivery="pending")
    noon = NOON + timedelta(minutes=2)
    assert ids(user, path, name="invoice.paid") == [paid]
    assert ids(user, path, name="invoice") == []
    assert ids(user, path, delivery="pending") == [sent]
    assert ids(user, path, delivery="failed") == []
    assert ids(user, path, created_after=noon.isoformat()) == [sent]
    assert ids(user, path, created_before=noon.isoformat()) == [paid]


@pytest.mark.parametrize("sort", ["-created_at", "created_at"])
def test_pages_of_both_lists_hold_every_event_once_while_others_come_in(
    sort: str, path: str, user: Client, place: Place
) -> None:
    placed = {place(minutes // 3) for minutes in range(12)}
    seen: list[str] = []
    query: dict[str, Any] = {"sort": sort, "limit": 5}
    while True:
        page = user.get(path, query_string=query).get_json()
        seen += [event["id"] for event in page["data"]]
        if page["meta"]["next_cursor"] is None:
            break
        query["cursor"] = page["meta"]["next_cursor"]
        place(100 if sort.startswith("-") else -100)  # lands on a page that was seen already
    assert len(seen) == len(set(seen))
    assert set(seen) == placed


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("delivery=lost", "delivery"),
        ("name=", "name"),
        ("name=%00", "name"),
        ("sort=name", "sort"),
        ("user_id=x", "user_id"),
        ("page=1", "page"),
        ("created_after=2026", "created_after"),
        ("cursor=abc", "cursor"),
    ],
)
def test_a_query_that_is_wrong_is_told_by_field(query: str, field: str, path: str, user: Client) -> None:
    answer = user.get(f"{path}?{query}")
    assert (answer.status_code, [error["field"] for error in answer.get_json()["errors"]]) == (422, [field])


def test_how_the_sink_stands_is_no_event(user: Client) -> None:
    answer = user.get("/v1/events/circuit-status")
    assert answer.status_code == 200
    assert answer.get_data() == user.get("/v1/circuits").get_data()


def test_a_page_is_found_by_index(
    path: str, user: Client, admin: Client, plans: Callable[..., list[str]], execute: Callable[..., Any], people: People
) -> None:
    execute(
        "INSERT INTO events (id, owner_id, name, details, delivery, created_at)"
        " SELECT uuidv7(), CASE WHEN i %% 10 = 0 THEN %s::uuid ELSE uuidv7() END, 'n', '{}', 'none',"
        " now() + i * interval '1 second' FROM generate_series(1, 20000) i",
        str(people["user"].id),
    )
    execute("VACUUM ANALYZE events")
    for client in (user, admin):
        index = "ix_events_created" if client is admin and path == "/v1/events" else "ix_events_owner"
        found = [plan for plan in plans(client, f"{path}?limit=20") if "on events" in plan]
        assert found
        for plan in found:
            assert index in plan, plan
            assert "Sort" not in plan, plan
