"""Users, read: by whom, which, in which order and on which page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from api.schemas import User, UserPage
from tests.conftest import Person
from tests.http.conftest import Client

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ABSENT = "0198c2f0-6f1e-7c3a-9b51-3d2f6a7b8c9d"

Add = Callable[..., str]
People = dict[str, Person]


@pytest.fixture
def add(execute: Callable[..., Any]) -> Add:
    """Put a user into the table, created so many minutes after noon; their id, which counts up."""
    made = 0

    def row(minutes: float = 0, *, name: str = "n", role: str = "user", **moments: datetime) -> str:
        nonlocal made
        made += 1
        user_id = str(UUID(int=(0x0198 << 112) + (7 << 76) + (2 << 62) + made))
        at = NOON + timedelta(minutes=minutes)
        execute(
            "INSERT INTO users (id, email, name, role, password_hash, created_at, updated_at, disabled_at, deleted_at)"
            " VALUES (%s, %s, %s, %s, 'secret', %s, %s, %s, %s)",
            *(user_id, f"Mail{made}@example.org", name, role, at, at),
            *(moments.get("disabled_at"), moments.get("deleted_at")),
        )
        return user_id

    return row


@pytest.fixture
def emails(admin: Client) -> Callable[[str], list[str]]:
    """Who is on the list, by their emails."""

    def asked(query: str) -> list[str]:
        answer = admin.get(f"/v1/users?{query}")
        assert answer.status_code == 200, answer.get_json()
        return [user["email"] for user in answer.get_json()["data"]]

    return asked


def test_a_user_is_shown_as_documented_and_without_the_hash(admin: Client, add: Add) -> None:
    user_id = add(name="Ada", role="admin", disabled_at=NOON)
    answer = admin.get(f"/v1/users/{user_id}")
    shown = {
        "id": user_id,
        "email": "Mail1@example.org",
        "name": "Ada",
        "role": "admin",
        "disabled": True,
        "created_at": "2026-01-31T12:00:00.000000Z",
        "updated_at": "2026-01-31T12:00:00.000000Z",
        "version": 1,
    }
    assert (answer.status_code, answer.get_json()) == (200, shown)
    User.model_validate_json(answer.get_data())
    assert shown in admin.get("/v1/users").get_json()["data"]


def test_me_is_whoever_asks(user: Client, admin: Client, people: People) -> None:
    for client, name in ((user, "user"), (admin, "admin")):
        own = client.get("/v1/users/me")
        assert own.get_json()["email"] == people[name].email
        assert own.get_data() == client.get(f"/v1/users/{people[name].id}").get_data()


def test_somebody_else_is_answered_like_somebody_who_does_not_exist(
    user: Client, admin: Client, add: Add, people: People
) -> None:
    same_id = {"headers": {"X-Request-ID": "same"}}
    deleted = add(deleted_at=NOON)
    paths = [f"/v1/users/{name}" for name in (people["other"].id, ABSENT, deleted, "no-uuid")]
    answers = [user.get(path, **same_id) for path in paths] + [admin.get(path, **same_id) for path in paths[1:]]
    assert {(answer.status_code, answer.get_data()) for answer in answers} == {(404, answers[0].get_data())}
    assert admin.get(paths[0]).status_code == 200


def test_who_was_deleted_just_now_is_told_so_and_not_that_there_is_no_such_thing(
    other: Client, people: dict[str, Person], execute: Callable[..., Any]
) -> None:
    """Their session has not ended yet: the worker that deleted them is still to tell."""
    assert other.get("/v1/users/me").status_code == 200
    execute("UPDATE users SET deleted_at = now() WHERE id = %s", str(people["other"].id))
    answer = other.get("/v1/users/me")
    assert (answer.status_code, answer.get_json()["code"]) == (401, "session_ended")


def test_the_list_is_for_admins(user: Client, nobody: Client) -> None:
    assert [client.get("/v1/users").status_code for client in (user, nobody)] == [403, 401]
    assert nobody.get("/v1/users/me").status_code == 401


@pytest.mark.parametrize("sort", ["-created_at", "created_at"])
def test_pages_by_cursor_hold_everybody_once_while_others_come_in(sort: str, admin: Client, add: Add) -> None:
    added = {add(minutes // 3) for minutes in range(12)}
    seen: list[str] = []
    page = admin.get(f"/v1/users?limit=4&sort={sort}").get_json()
    while True:
        UserPage.model_validate(page, strict=False)
        seen += [user["id"] for user in page["data"]]
        assert set(page["meta"]) == {"limit", "next_cursor"}
        if page["meta"]["next_cursor"] is None:
            break
        add(60 * 24 * 365 * 100 if sort.startswith("-") else -100)  # lands on a page that was seen already
        page = admin.get(f"/v1/users?limit=4&sort={sort}&cursor={page['meta']['next_cursor']}").get_json()
    assert len(seen) == len(set(seen)) == 12 + 3
    assert added <= set(seen)


def test_pages_by_number_count_what_there_is(admin: Client, add: Add) -> None:
    ids = [add(minutes) for minutes in range(7)]
    add(8, deleted_at=NOON)
    shown = []
    for number in range(1, 5):
        page = admin.get(f"/v1/users?limit=3&search=mail&page={number}").get_json()
        UserPage.model_validate(page, strict=False)
        more = page["meta"].pop("next_cursor")
        assert page["meta"] == {"limit": 3, "page": number, "total_pages": 3, "total": 7}
        assert (more is not None) == (number < 3)
        shown.append([user["id"] for user in page["data"]])
    assert shown == [ids[6:3:-1], ids[3:0:-1], ids[:1], []]


def test_one_can_go_on_by_cursor_from_a_numbered_page(admin: Client, add: Add) -> None:
    ids = [add(minutes) for minutes in range(4)]
    more = admin.get("/v1/users?limit=2&search=mail&page=1").get_json()["meta"]["next_cursor"]
    rest = admin.get(f"/v1/users?limit=2&search=mail&cursor={more}").get_json()
    assert [user["id"] for user in rest["data"]] == ids[1::-1]


def test_an_empty_list_has_no_pages(admin: Client) -> None:
    page = admin.get("/v1/users?search=nobody&page=1").get_json()
    assert page == {"data": [], "meta": {"limit": 20, "next_cursor": None, "page": 1, "total_pages": 0, "total": 0}}


def test_filters_narrow_the_list(add: Add, emails: Any) -> None:
    add(1, name="Ada", role="admin"), add(2, name="Grace", disabled_at=NOON), add(3, deleted_at=NOON)
    assert emails("role=admin&sort=created_at") == ["Mail1@example.org", "admin@example.com"]
    assert emails("disabled=true") == ["Mail2@example.org"]
    assert emails("disabled=false&search=mail") == ["Mail1@example.org"]
    assert emails("role=admin&disabled=true") == []


@pytest.mark.parametrize(
    ("search", "numbers"),
    [
        ("mail2@EXAMPLE.org", {2}),
        ("mAiL", {1, 2, 3}),
        ("love", {1}),
        ("100%25", {2}),
        ("%25", {2}),
        ("_", {3}),
        ("%5C", {3}),
        ("/", {3}),
        ("Mail_", set()),
        ("' OR 1=1", set()),
    ],
)
def test_search_finds_a_part_of_email_or_name_and_nothing_is_a_wildcard(
    search: str, numbers: set[int], add: Add, emails: Any
) -> None:
    add(1, name="Ada Lovelace"), add(2, name="100% Grace"), add(3, name="back\\slash_and/slash")
    assert set(emails(f"search={search}")) == {f"Mail{number}@example.org" for number in numbers}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=one", "page"),
        ("page=", "page"),
        ("page=1&page=2", "page"),
        ("page=99999999999999999999", "page"),
        ("limit=0", "limit"),
        ("sort=email", "sort"),
        ("search=", "search"),
        ("search=%00", "search"),
        ("search=" + 255 * "a", "search"),
        ("role=owner", "role"),
        ("disabled=maybe", "disabled"),
        ("deleted=true", "deleted"),
        ("cursor=abc", "cursor"),
    ],
)
def test_a_query_that_is_wrong_is_told_by_field(query: str, field: str, admin: Client) -> None:
    answer = admin.get(f"/v1/users?{query}")
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    assert [error["field"] for error in answer.get_json()["errors"]] == [field]


def test_cursor_and_page_cannot_be_given_together(admin: Client) -> None:
    cursor = admin.get("/v1/users?limit=1").get_json()["meta"]["next_cursor"]
    answer = admin.get(f"/v1/users?cursor={cursor}&page=1")
    assert (answer.status_code, answer.get_json()["errors"][0]["field"]) == (422, "page")


@pytest.mark.parametrize("path", ["/v1/users/me", "/v1/users/{id}"])
def test_a_user_one_has_is_not_sent_again(path: str, user: Client, people: People, execute: Callable[..., Any]) -> None:
    path = path.format(id=people["user"].id)
    tag = user.get(path).headers["ETag"]
    known = {"headers": {"If-None-Match": tag}}
    assert (tag, user.get(path, **known).status_code) == ('"v1"', 304)
    execute("UPDATE users SET version = version + 1")
    assert (user.get(path, **known).status_code, user.get(path).headers["ETag"]) == (200, '"v2"')


@pytest.mark.parametrize("query", ["", "sort=created_at", "page=3"])
def test_a_page_is_found_by_index(
    query: str, admin: Client, plans: Callable[..., list[str]], execute: Callable[..., Any]
) -> None:
    execute(
        "INSERT INTO users (email, name, password_hash, created_at) SELECT i || '@example.org', 'n', 'h',"
        " %s::timestamptz + i * interval '1 second' FROM generate_series(1, 20000) i",
        NOON,
    )
    execute("ANALYZE users")
    for plan in plans(admin, f"/v1/users?{query}"):
        assert "Aggregate" in plan or ("ix_users_created" in plan and "Sort" not in plan), plan
    execute("DELETE FROM users WHERE email LIKE '%%@example.org'")
    execute("VACUUM ANALYZE users")
