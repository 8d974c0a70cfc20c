"""Tasks, read: whose, which, in which order, by which words, and how many there are."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unicodedata import combining
from uuid import UUID

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.schemas import Task, TaskPage, TaskStats
from models.task import PRIORITIES
from tests.conftest import Person
from tests.http.conftest import Client

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ABSENT = "0198c2f0-6f1e-7c3a-9b51-3d2f6a7b8c9d"
SORTS = ["-created_at", "created_at", "-due_date", "due_date", "-priority", "priority"]

Place = Callable[..., str]
People = dict[str, Person]


@pytest.fixture
def place(task_of: Callable[..., str]) -> Place:
    """Put a task into the table, created so many minutes after noon, and due as many after noon; its id, which counts up."""
    made = 0

    def row(minutes: float = 0, *, who: str = "user", due: float | None = None, **columns: Any) -> str:
        nonlocal made
        made += 1
        task_id = str(UUID(int=(0x0198 << 112) + (7 << 76) + (2 << 62) + made))
        moment = NOON + timedelta(minutes=minutes)
        due_date = None if due is None else NOON + timedelta(minutes=due)
        return task_of(who, id=task_id, created_at=moment, updated_at=moment, due_date=due_date, **columns)

    return row


def ask(client: Client, **query: Any) -> TestResponse:
    return client.get("/v1/tasks", query_string=query)


def ids(client: Client, **query: Any) -> list[str]:
    answer = ask(client, **query)
    assert answer.status_code == 200, answer.get_json()
    return [task["id"] for task in answer.get_json()["data"]]


def pages(client: Client, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list, by their cursors."""
    page = ask(client, **query).get_json()
    while True:
        TaskPage.model_validate(page, strict=False)
        assert set(page["meta"]) == {"limit", "next_cursor"}
        yield page["data"]
        if page["meta"]["next_cursor"] is None:
            return
        page = ask(client, **query, cursor=page["meta"]["next_cursor"]).get_json()


def in_order(tasks: list[dict[str, Any]], sort: str) -> list[str]:
    """The ids of tasks as a sort has them: no due date comes last, both ways."""
    name, down = sort.removeprefix("-"), sort.startswith("-")

    def key(task: dict[str, Any]) -> tuple[Any, str]:
        value = task[name]
        return (PRIORITIES.index(value) if name == "priority" else value), task["id"]

    filled = sorted((task for task in tasks if task[name] is not None), key=key, reverse=down)
    empty = sorted((task for task in tasks if task[name] is None), key=lambda task: task["id"], reverse=down)
    return [task["id"] for task in filled + empty]


def test_a_task_is_shown_as_documented(user: Client, place: Place, people: People) -> None:
    task_id = place(title="Call", description="At once", status="in_progress", priority=2, due=60, overdue_at=NOON)
    answer = user.get(f"/v1/tasks/{task_id}")
    shown = {
        "id": task_id,
        "user_id": str(people["user"].id),
        "title": "Call",
        "description": "At once",
        "status": "in_progress",
        "priority": "high",
        "due_date": "2026-01-31T13:00:00.000000Z",
        "overdue_at": "2026-01-31T12:00:00.000000Z",
        "created_at": "2026-01-31T12:00:00.000000Z",
        "updated_at": "2026-01-31T12:00:00.000000Z",
        "version": 1,
    }
    assert (answer.status_code, answer.get_json()) == (200, shown)
    Task.model_validate_json(answer.get_data())
    assert ask(user).get_json() == {"data": [shown], "meta": {"limit": 20, "next_cursor": None}}
    bare = user.get(f"/v1/tasks/{place()}").get_json()
    assert (bare["description"], bare["due_date"], bare["overdue_at"]) == (None, None, None)


def test_a_task_one_has_is_not_sent_again_until_it_has_changed(
    user: Client, place: Place, execute: Callable[..., Any]
) -> None:
    path = f"/v1/tasks/{place()}"
    tag = user.get(path).headers["ETag"]
    known = {"headers": {"If-None-Match": tag}}
    assert (tag, user.get(path, **known).status_code) == ('"v1"', 304)
    execute("UPDATE tasks SET version = version + 1")
    assert (user.get(path, **known).status_code, user.get(path).headers["ETag"]) == (200, '"v2"')


def test_someone_elses_task_is_answered_like_one_that_does_not_exist(user: Client, admin: Client, place: Place) -> None:
    same_id = {"headers": {"X-Request-ID": "same"}}
    foreign = place(who="other")
    answers = [user.get(f"/v1/tasks/{each}", **same_id) for each in (foreign, ABSENT, "no-uuid")]
    assert {(answer.status_code, answer.get_data()) for answer in answers} == {(404, answers[0].get_data())}
    assert admin.get(f"/v1/tasks/{foreign}").status_code == 200


def test_the_list_has_ones_own_newest_first(user: Client, other: Client, admin: Client, place: Place) -> None:
    first, second, foreign = place(1), place(2), place(3, who="other")
    assert ids(user) == [second, first]
    assert ids(other) == [foreign]
    assert ids(admin) == [foreign, second, first]


def test_an_admin_can_ask_for_one_user_and_all_others_for_nobody_else(
    user: Client, admin: Client, place: Place, people: People
) -> None:
    mine, foreign = place(1), place(2, who="other")
    assert ids(admin, user_id=people["user"].id) == [mine]
    assert ids(admin, user_id=ABSENT) == []
    assert ids(user, user_id=people["user"].id) == [mine]
    for nobody in (people["other"].id, ABSENT):
        assert ids(user, user_id=nobody) == []
        assert set(user.get(f"/v1/tasks/stats?user_id={nobody}").get_json().values()) == {0}
    assert foreign in ids(admin)


@pytest.mark.parametrize("who", ["user", "admin"])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_by_cursor_hold_every_task_once_and_in_order_while_others_come_in(
    sort: str, who: str, app: Flask, signed_in: Callable[[Flask, str], Client], place: Place
) -> None:
    # several of each moment, due date and priority, and several that have no due date: the id decides among them
    for number in range(23):
        due = None if number % 3 == 0 else number % 5
        place(number // 3, who="other" if who == "admin" and number % 2 else "user", due=due, priority=number % 3)
    client, ahead = signed_in(app, who), -100 if sort in SORTS[1::2] else 100
    expected = in_order(ask(client, limit=100).get_json()["data"], sort)
    seen: list[str] = []
    for page in pages(client, sort=sort, limit=4):
        seen += [task["id"] for task in page]
        place(ahead, due=ahead, priority=0 if ahead < 0 else 2)  # lands on a page that was seen already, or is the last
    assert [task_id for task_id in seen if task_id in expected] == expected
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("sort", SORTS)
def test_pages_by_number_are_those_by_cursor_and_count_what_there_is(sort: str, user: Client, place: Place) -> None:
    for number in range(7):
        place(number // 2, due=None if number % 2 else number, priority=number % 3)
    by_cursor = list(pages(user, sort=sort, limit=3))
    place(who="other")
    for number, expected in enumerate([*by_cursor, []], 1):
        page = ask(user, sort=sort, limit=3, page=number).get_json()
        TaskPage.model_validate(page, strict=False)
        more = page["meta"].pop("next_cursor")
        assert page == {"data": expected, "meta": {"limit": 3, "page": number, "total_pages": 3, "total": 7}}
        if number < 3:
            assert ask(user, sort=sort, limit=3, cursor=more).get_json()["data"] == by_cursor[number]
        else:
            assert more is None


def test_filters_narrow_the_list(user: Client, place: Place) -> None:
    one, two = place(1, status="pending", priority=2), place(2, status="completed", priority=0)
    assert ids(user, status="pending") == [one]
    assert ids(user, status="in_progress") == []
    assert ids(user, priority="high") == [one]
    assert ids(user, priority="low", status="completed") == [two]
    assert ids(user, priority="medium") == []


def test_times_bound_half_open_intervals(user: Client, place: Place) -> None:
    before, at, after, undated = place(-1, due=-1), place(0, due=0), place(1, due=1), place(0)
    for name in ("created", "due"):
        bare = [undated] if name == "created" else []
        noon = NOON.isoformat()
        assert sorted(ids(user, **{f"{name}_after": noon})) == sorted([at, after, *bare])
        assert ids(user, **{f"{name}_before": noon}) == [before]
        assert ids(user, **{f"{name}_after": noon, f"{name}_before": noon}) == []


@pytest.mark.parametrize("sort", SORTS)
def test_what_is_overdue_is_past_due_and_not_completed(sort: str, user: Client, place: Place) -> None:
    far = (datetime(2100, 1, 1, tzinfo=UTC) - NOON).total_seconds() / 60
    late = {place(due=1), place(due=1, status="in_progress")}
    rest = {place(due=1, status="completed"), place(due=far), place(), place(status="completed")}
    assert set(ids(user, sort=sort, overdue="true")) == late
    assert set(ids(user, sort=sort, overdue="false")) == rest


def test_stats_count_ones_own_and_for_an_admin_everyones(
    user: Client, admin: Client, place: Place, people: People
) -> None:
    place(status="completed", due=1, priority=2), place(status="in_progress", due=1), place(priority=2), place()
    place(who="other", due=1)
    own = {"total": 4, "completed": 1, "in_progress": 1, "pending": 2, "high_priority": 2, "overdue": 1}
    answer = user.get("/v1/tasks/stats")
    TaskStats.model_validate_json(answer.get_data())
    assert answer.get_json() == own
    assert admin.get("/v1/tasks/stats").get_json() == own | {"total": 5, "pending": 3, "overdue": 2}
    assert admin.get(f"/v1/tasks/stats?user_id={people['user'].id}").get_json() == own
    assert set(admin.get(f"/v1/tasks/stats?user_id={ABSENT}").get_json().values()) == {0}


@pytest.mark.parametrize(
    ("title", "description", "search"),
    [
        ("Call the customer back", None, "call"),
        ("Call the customer back", None, "CUST call"),
        ("Call the customer back", None, "b c t"),
        ("Call", "the customer back", "customer call"),
        ("Call", "line one\nline two", "two"),
        ("Über Größe", None, "über grö"),
        ("Straße", None, "STRASSE"),
        ("STRASSE", None, "straß"),
        ("ΟΔΟΣ", None, "οδός"[:1]),
        ("οδος", None, "ΟΔΟΣ"),
        ("Задача Ёлка", None, "ёлка ЗАД"),
        ("cafe\u0301", None, "café"),
        ("CAFÉ", None, "cafe\u0301"),
        ("日本語 テスト", None, "日本"),
        ("fix 😀 this", None, "this 😀"),
        ("a😀b", None, "b"),
        ("O'Brien", None, "brien o"),
        ('say "cheese"', None, '"cheese'),
        ("back\\slash", None, "\\slash back\\"),
        ("100% of it", None, "100%"),
        ("snake_case", None, "case_"),
        ("mail ada@example.com", None, "example ada@"),
        ("see https://example.com/a?b=c", None, "example.com/a"),
        ("v1.2.3-rc4", None, "rc v1.2"),
        ("Call the customer back", None, "back <-> call"),
        ("Call the customer back", None, "call\\"),
        ("not this & that | other", None, "!this that"),
        ("<b>bold</b>", None, "<b>"),
        ("1e5abc 2nd 0x1F", None, "1e5a 2n 0x1"),
        ("the and of", None, "the and of"),
        ("many words", None, "words " * 33),
    ],
)
def test_search_finds_a_task_with_every_word_at_the_beginning_of_one(
    title: str, description: str | None, search: str, user: Client, place: Place
) -> None:
    place(title="quite another")
    found = place(title=title, description=description)
    assert found in ids(user, search=search)
    assert found not in ids(user, search=f"{search[:190]} absent")


@pytest.mark.parametrize(
    "search",
    [
        "ustomer",
        "call | nothing",
        "!nothing",
        "call & nothing",
        "call:nothing",
        "'call nothing'",
        "callback",
        "c%l",
        "c_ll",
        "*",
        ":*",
        "!",
        "()",
        "''",
        "\\",
        "😀",
        "%",
        " ",
        "\u00a0",
        "\u200b",
    ],
)
def test_search_knows_no_operators_and_finds_nothing_without_words(search: str, user: Client, place: Place) -> None:
    place(title="Call the customer back")
    assert ids(user, search=search) == []


ALPHABETS = (
    "abcXYZ",
    "019eExX",
    "äÖßéñ\u0301",
    "ЖзΣσςİı",
    "日本\u0e01\u0e31हिन्दी",
    "😀👩‍🔬\u200d",
    " '\"\\%_&|!()<>:*-@./",
    "\u00a0\u2028\u00ad",
)


def test_whatever_is_in_a_title_its_beginning_is_found(user: Client, place: Place) -> None:
    """Texts made by chance: each is searched for as a whole, and up to any letter of it."""
    chance = random.Random(5)
    for _ in range(200):
        letters = " " + "".join(chance.sample(ALPHABETS, 3))
        title = "q " + "".join(chance.choices(letters, k=chance.randint(1, 30)))
        task = place(title=title)
        ends = [end for end in range(1, len(title)) if not combining(title[end])]
        for end in (len(title), chance.choice(ends)):
            assert task in ids(user, search=title[:end], limit=100), (title, end)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("sort=title", "sort"),
        ("sort=--created_at", "sort"),
        ("sort=words", "sort"),
        ("status=open", "status"),
        ("status=", "status"),
        ("priority=1", "priority"),
        ("priority=urgent", "priority"),
        ("user_id=me", "user_id"),
        ("user_id=", "user_id"),
        ("search=", "search"),
        ("search=%00", "search"),
        ("search=a%00b", "search"),
        ("search=%0a", "search"),
        ("search=" + 201 * "a", "search"),
        ("search=a&search=b", "search"),
        ("created_after=yesterday", "created_after"),
        ("due_before=2026-01-31", "due_before"),
        ("overdue=maybe", "overdue"),
        ("overdue=", "overdue"),
        ("page=0", "page"),
        ("page=99999999999999999999", "page"),
        ("cursor=abc", "cursor"),
        ("title=x", "title"),
    ],
)
def test_a_query_that_is_wrong_is_told_by_field(query: str, field: str, user: Client) -> None:
    answer = user.get(f"/v1/tasks?{query}")
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    assert [error["field"] for error in answer.get_json()["errors"]] == [field]


@pytest.mark.parametrize("query", ["status=pending", "user_id=1", "user_id="])
def test_stats_know_nothing_but_whose(query: str, user: Client) -> None:
    answer = user.get(f"/v1/tasks/stats?{query}")
    assert (answer.status_code, answer.get_json()["errors"][0]["field"]) == (422, query.partition("=")[0])


@pytest.mark.parametrize("sort", SORTS[1:])
def test_a_cursor_belongs_to_its_sort(sort: str, user: Client, place: Place) -> None:
    place(1), place(2)
    cursor = ask(user, limit=1).get_json()["meta"]["next_cursor"]
    answer = ask(user, limit=1, cursor=cursor, sort=sort)
    assert (answer.status_code, answer.get_json()["errors"][0]["field"]) == (422, "cursor")


def test_the_last_page_there_can_be_is_empty(user: Client, place: Place) -> None:
    place()
    for sort in SORTS:
        assert ids(user, sort=sort, limit=100, page=10**9) == []


INDEXES = {
    "sort=-created_at": ("ix_tasks_owner", "ix_tasks_created"),
    "sort=created_at": ("ix_tasks_owner", "ix_tasks_created"),
    "sort=-due_date": ("ix_tasks_owner_due", "ix_tasks_all_due"),
    "sort=due_date": ("ix_tasks_owner_due", "ix_tasks_all_due"),
    "sort=-priority": ("ix_tasks_owner_priority", "ix_tasks_all_priority"),
    "sort=priority": ("ix_tasks_owner_priority", "ix_tasks_all_priority"),
    "search=rarely": ("ix_tasks_words", "ix_tasks_words"),
    "search=rar+call": ("ix_tasks_words", "ix_tasks_words"),
    "search=call": ("ix_tasks_owner", "ix_tasks_created"),
}
"""By what is asked: the index it is found by for a user, and for an admin."""


def test_a_page_is_found_by_index(
    user: Client,
    admin: Client,
    plans: Callable[[Client, str], list[str]],
    execute: Callable[..., Any],
    people: People,
    subtests: pytest.Subtests,
) -> None:
    execute(
        "INSERT INTO tasks (id, owner_id, title, status, priority, due_date, created_at, updated_at)"
        " SELECT gen_random_uuid(), CASE WHEN i %% 50 = 0 THEN %s::uuid ELSE uuidv7() END,"
        " CASE WHEN i %% 1000 = 0 THEN 'rarely' ELSE 'often' END || ' call word' || i %% 500, 'pending', i %% 3,"
        " CASE WHEN i %% 4 > 0 THEN now() + i * interval '1 minute' END, now() + i * interval '1 second', now()"
        " FROM generate_series(1, 20000) i",
        str(people["user"].id),
    )
    execute("UPDATE tasks SET words = CAST(title AS tsvector)")
    execute("VACUUM ANALYZE tasks")
    for query, indexes in INDEXES.items():
        for client, index in zip((user, admin), indexes, strict=True):
            with subtests.test(query=query, index=index):
                for plan in plans(client, f"/v1/tasks?{query}"):
                    assert f"{index} " in plan or f"{index}\n" in plan, plan
                    assert "Seq Scan" not in plan, plan


def test_what_is_overdue_is_told_by_the_time_it_is_asked(
    user: Client, task_of: Callable[..., str], execute: Any
) -> None:
    """An answer that changes with time, though nobody writes, is not kept."""
    task = task_of("user", due_date=datetime.now(UTC) + timedelta(hours=1))
    for _ in range(2):
        answer = user.get("/v1/tasks?overdue=true")
        assert (answer.headers["X-Cache"], answer.get_json()["data"]) == ("miss", [])
    execute("UPDATE tasks SET due_date = now() - interval '1 second'")  # as if an hour had passed
    assert [row["id"] for row in user.get("/v1/tasks?overdue=true").get_json()["data"]] == [task]


def test_a_long_word_is_found_by_its_beginning(user: Client, task_of: Callable[..., str]) -> None:
    """One letter may stand for six; and PostgreSQL takes no words of any length."""
    title = "\u3316" * 60
    task = task_of("user", title=title)
    for search in (title, title * 3, "\u3316" * 200):
        assert ids(user, search=search[:200]) == [task]
