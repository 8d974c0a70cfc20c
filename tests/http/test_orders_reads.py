"""Orders and the catalogue, read: whose, which, in which order, and only when they have changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from flask import Flask

from api.schemas import Order, OrderPage, ServicePage
from tests.http.conftest import Client

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ABSENT = "0198c2f0-6f1e-7c3a-9b51-3d2f6a7b8c9d"

Place = Callable[..., str]


@pytest.fixture
def place(execute: Callable[..., Any], people: dict[str, Any]) -> Place:
    """Put an order into the table, created so many minutes after noon; its id, which counts up."""
    made = 0

    def row(minutes: float = 0, *, who: str = "user", customer: str = "c", services: str = "{123}") -> str:
        nonlocal made
        made += 1
        order_id = str(UUID(int=(0x0198 << 112) + (7 << 76) + (2 << 62) + made))
        moment = NOON + timedelta(minutes=minutes)
        execute(
            "INSERT INTO orders (id, owner_id, customer_id, services, total_fee, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, 12.5, %s, %s)",
            *(order_id, str(people[who].id), customer, services, moment, moment),
        )
        return order_id

    return row


def ids(client: Client, query: str = "") -> list[str]:
    answer = client.get(f"/v1/orders?{query}")
    assert answer.status_code == 200, answer.get_json()
    return [order["id"] for order in answer.get_json()["data"]]


def fields(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.get_data()
    assert answer.mimetype == "application/problem+json"
    return [error["field"] for error in answer.get_json()["errors"]]


def test_an_order_is_shown_as_documented(user: Client, place: Place, people: dict[str, Any]) -> None:
    order_id = place()
    answer = user.get(f"/v1/orders/{order_id}")
    assert answer.status_code == 200
    assert answer.get_json() == {
        "id": order_id,
        "user_id": str(people["user"].id),
        "customer_id": "c",
        "services": ["123"],
        "total_fee": "12.50",
        "scheduled_for": None,
        "created_at": "2026-01-31T12:00:00.000000Z",
        "updated_at": "2026-01-31T12:00:00.000000Z",
        "version": 1,
    }
    Order.model_validate_json(answer.get_data())


def test_the_list_has_ones_own_newest_first(user: Client, other: Client, place: Place) -> None:
    first, second = place(1), place(2)
    foreign = place(3, who="other")
    assert ids(user) == [second, first]
    assert ids(other) == [foreign]
    assert ids(user, "sort=created_at") == [first, second]
    assert ids(user, "sort=-created_at") == [second, first]


def test_an_admin_sees_everyones(admin: Client, place: Place) -> None:
    mine, foreign = place(1), place(2, who="other")
    assert ids(admin) == [foreign, mine]
    assert admin.get(f"/v1/orders/{mine}").status_code == 200


def test_someone_elses_order_is_answered_like_one_that_does_not_exist(user: Client, place: Place) -> None:
    same_id = {"headers": {"X-Request-ID": "same"}}
    foreign = user.get(f"/v1/orders/{place(who='other')}", **same_id)
    absent = user.get(f"/v1/orders/{ABSENT}", **same_id)
    malformed = user.get("/v1/orders/no-uuid", **same_id)
    assert [answer.status_code for answer in (foreign, absent, malformed)] == [404, 404, 404]
    assert foreign.get_data() == absent.get_data() == malformed.get_data()


@pytest.mark.parametrize("path", ["/v1/orders", f"/v1/orders/{ABSENT}", "/v1/services"])
def test_reads_need_a_token(path: str, nobody: Client) -> None:
    assert nobody.get(path).status_code == 401


@pytest.mark.parametrize("sort", ["-created_at", "created_at"])
def test_pages_hold_every_order_once_while_others_come_in(sort: str, user: Client, place: Place) -> None:
    # three at each moment: the id decides among them
    placed = {place(minutes // 3) for minutes in range(12)}
    seen: list[str] = []
    page = user.get(f"/v1/orders?limit=5&sort={sort}").get_json()
    while True:
        OrderPage.model_validate(page, strict=False)
        seen += [order["id"] for order in page["data"]]
        assert page["meta"]["limit"] == 5
        if page["meta"]["next_cursor"] is None:
            break
        place(100 if sort.startswith("-") else -100)  # lands on a page that was seen already
        page = user.get(f"/v1/orders?limit=5&sort={sort}&cursor={page['meta']['next_cursor']}").get_json()
    assert len(seen) == len(set(seen))
    assert set(seen) == placed


def test_a_full_last_page_names_no_next_one(user: Client, place: Place) -> None:
    for minutes in range(2):
        place(minutes)
    assert user.get("/v1/orders?limit=2").get_json()["meta"]["next_cursor"] is None


def test_the_limit_is_20_unless_given_and_may_change_between_pages(user: Client, place: Place) -> None:
    for minutes in range(23):
        place(minutes)
    page = user.get("/v1/orders").get_json()
    assert (len(page["data"]), page["meta"]["limit"]) == (20, 20)
    assert len(ids(user, f"limit=100&cursor={page['meta']['next_cursor']}")) == 3


def test_an_empty_list_is_a_list(user: Client) -> None:
    assert user.get("/v1/orders").get_json() == {"data": [], "meta": {"limit": 20, "next_cursor": None}}


def test_filters_narrow_the_list(user: Client, place: Place) -> None:
    plain, special = place(1), place(2, customer="c-2", services="{456,789}")
    assert ids(user, "customer_id=c-2") == [special]
    assert ids(user, "customer_id=nobody") == []
    assert ids(user, "service=789") == [special]
    assert ids(user, "service=123") == [plain]
    assert ids(user, "service=unknown") == []
    assert ids(user, "service=456&customer_id=c") == []


@pytest.mark.parametrize(
    "moment",
    ["2026-01-31T12:00:00Z", "2026-01-31t12:00:00.000z", "2026-01-31T14:00:00%2B02:00", "2026-01-31T14:00:00+02:00"],
)
def test_times_bound_a_half_open_interval_in_any_offset(moment: str, user: Client, place: Place) -> None:
    before, at, after = place(-1), place(0), place(1)
    assert ids(user, f"created_after={moment}") == [after, at]
    assert ids(user, f"created_before={moment}") == [before]
    assert ids(user, f"created_after={moment}&created_before={moment}") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("sort=total_fee", "sort"),
        ("sort=", "sort"),
        ("color=red", "color"),
        ("customer_id=", "customer_id"),
        ("customer_id=" + 65 * "c", "customer_id"),
        ("customer_id=%00", "customer_id"),
        ("service=%27--", "service"),
        ("created_after=2026-01-31T12:00:00", "created_after"),
        ("created_after=2026-01-31", "created_after"),
        ("created_after=1769860800", "created_after"),
        ("created_before=0001-01-01T00:00:00%2B02:00", "created_before"),
        ("created_before=yesterday", "created_before"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=%ff%00", "cursor"),
        ("cursor=" + quote("ключ"), "cursor"),
        ("cursor=" + 600 * "a", "cursor"),
    ],
)
def test_a_query_that_is_wrong_is_told_by_field(query: str, field: str, user: Client) -> None:
    assert fields(user.get(f"/v1/orders?{query}")) == [field]


def test_everything_that_is_wrong_is_told_at_once(user: Client) -> None:
    assert set(fields(user.get("/v1/orders?limit=0&sort=x&color=red"))) == {"limit", "sort", "color"}


@pytest.mark.parametrize("other", ["sort=created_at", "customer_id=c", "created_after=2026-01-01T00:00:00Z"])
def test_a_cursor_belongs_to_its_sort_and_filters(other: str, user: Client, place: Place) -> None:
    place(1), place(2)
    cursor = user.get("/v1/orders?limit=1").get_json()["meta"]["next_cursor"]
    assert fields(user.get(f"/v1/orders?limit=1&cursor={cursor}&{other}")) == ["cursor"]


def test_a_cursor_belongs_to_its_list(user: Client, place: Place) -> None:
    place(1), place(2)
    cursor = user.get("/v1/orders?limit=1").get_json()["meta"]["next_cursor"]
    assert fields(user.get(f"/v1/services?cursor={cursor}")) == ["cursor"]


def test_a_cursor_changed_anywhere_is_refused(user: Client, place: Place) -> None:
    place(1), place(2)
    cursor = user.get("/v1/orders?limit=1").get_json()["meta"]["next_cursor"]
    for place_in in range(0, len(cursor) - 1, 5):
        letter = "A" if cursor[place_in] != "A" else "B"
        changed = cursor[:place_in] + letter + cursor[place_in + 1 :]
        assert fields(user.get(f"/v1/orders?cursor={changed}")) == ["cursor"]


@pytest.mark.parametrize("sent", ['"{tag}"', 'W/"{tag}"', "*", '"other", "{tag}"', 'W/"other" , W/"{tag}"'])
def test_an_order_one_has_is_not_sent_again(sent: str, user: Client, place: Place) -> None:
    path = f"/v1/orders/{place()}"
    tag = user.get(path).headers["ETag"]
    assert tag.startswith('"')
    answer = user.get(path, headers={"If-None-Match": sent.format(tag=tag.strip('"'))})
    assert (answer.status_code, answer.get_data(), answer.headers["ETag"]) == (304, b"", tag)
    assert "Content-Type" not in answer.headers


def test_an_order_that_has_changed_is_sent(user: Client, place: Place, execute: Callable[..., Any]) -> None:
    path = f"/v1/orders/{place()}"
    tag = user.get(path).headers["ETag"]
    execute("UPDATE orders SET version = version + 1")
    answer = user.get(path, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.get_json()["version"]) == (200, 2)
    assert answer.headers["ETag"] != tag


def test_if_none_match_tells_nothing_of_someone_elses_order(user: Client, place: Place) -> None:
    assert user.get(f"/v1/orders/{place(who='other')}", headers={"If-None-Match": "*"}).status_code == 404


def test_the_catalogue_is_listed_by_code(user: Client) -> None:
    answer = user.get("/v1/services")
    ServicePage.model_validate_json(answer.get_data())
    assert answer.get_json()["data"] == [
        {"code": "123", "name": "Inspection"},
        {"code": "456", "name": "Analysis"},
        {"code": "789", "name": "Testing"},
    ]
    first = user.get("/v1/services?limit=2").get_json()
    rest = user.get(f"/v1/services?limit=2&cursor={first['meta']['next_cursor']}").get_json()
    assert [service["code"] for service in rest["data"]] == ["789"]


@pytest.mark.parametrize(
    ("who", "query", "index"),
    [
        ("user", "", "ix_orders_owner"),
        ("user", "sort=created_at", "ix_orders_owner"),
        ("user", "created_after=2026-01-31T12:10:00Z&created_before=2026-01-31T12:20:00Z", "ix_orders_owner"),
        ("user", "customer_id=c1", "ix_orders_customer"),
        ("admin", "", "ix_orders_created"),
        ("admin", "sort=created_at", "ix_orders_created"),
    ],
)
def test_a_page_is_found_by_index(
    who: str,
    query: str,
    index: str,
    app: Flask,
    signed_in: Any,
    plans: Callable[..., list[str]],
    execute: Callable[..., Any],
    people: dict[str, Any],
) -> None:
    execute(
        "INSERT INTO orders (id, owner_id, customer_id, services, total_fee, created_at, updated_at)"
        " SELECT uuidv7(), CASE WHEN i %% 50 = 0 THEN %s::uuid ELSE uuidv7() END, 'c' || i %% 100, '{123}', 1,"
        " %s::timestamptz + i * interval '1 second', now() FROM generate_series(1, 20000) i",
        str(people["user"].id),
        NOON,
    )
    execute("ANALYZE orders")
    for plan in plans(signed_in(app, who), f"/v1/orders?{query}"):
        assert index in plan, plan
        assert "Seq Scan" not in plan, plan


def test_reads_without_a_database_are_503(make_app: Any, signed_in: Any) -> None:
    user = signed_in(make_app(read_database_url="postgresql://nobody@127.0.0.1:1/none"), "user")
    answer = user.get("/v1/orders")
    assert (answer.status_code, answer.get_json()["code"]) == (503, "database_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
