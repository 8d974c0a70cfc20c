"""Tasks written over HTTP: what is refused before it is queued, and to whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import Person
from tests.http.conftest import Client
from tests.road import Road

People = dict[str, Person]
BATCH = "/v1/tasks/batch"
ONE = "0198c2d4-1b0a-7e55-8f4e-5a6b7c8d9e0f"


def done(road: Road, answer: TestResponse) -> dict[str, Any]:
    """The job of a write, carried out."""
    assert answer.status_code == 202, answer.text
    road.work()
    return road.job(UUID(answer.get_json()["id"]))


def fields(answer: TestResponse) -> list[str]:
    """The fields that are wrong with a request."""
    assert (answer.status_code, answer.get_json()["code"]) == (422, "validation_failed")
    return [error["field"] for error in answer.get_json()["errors"]]


def test_a_task_from_its_creation_to_its_end(user: Client, road: Road) -> None:
    job = done(road, user.post("/v1/tasks", {"title": "One", "due_date": "2027-01-01T00:00:00Z"}))
    path = job["links"]["resource"]
    assert (job["status"], path) == ("succeeded", f"/v1/tasks/{job['id']}")
    amended = done(road, user("PATCH", path, json={"status": "completed"}))
    assert amended["result"] == job["result"] | {
        "status": "completed",
        "updated_at": amended["submitted_at"],
        "version": 2,
    }
    assert done(road, user("PATCH", path, json={"title": "X"}, headers={"If-Match": '"v1"'}))["error"]["status"] == 412
    assert done(road, user("DELETE", path))["status"] == "succeeded"
    assert user("DELETE", path).status_code == 404


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["title"]),
        ({"title": " "}, ["title"]),
        ({"title": "x" * 201, "status": "done", "priority": 1}, ["title", "status", "priority"]),
        ({"title": "x", "due_date": "soon", "colour": "red"}, ["due_date", "colour"]),
        ({"title": "x", "user_id": "me"}, ["user_id"]),
    ],
    ids=repr,
)
def test_every_wrong_field_of_a_new_task_is_named(user: Client, body: dict[str, Any], wrong: list[str]) -> None:
    assert fields(user.post("/v1/tasks", body)) == wrong


@pytest.mark.parametrize("body", [{}, {"title": None}, {"id": ONE}], ids=repr)
def test_an_amendment_names_something_that_can_be_changed(
    user: Client, task_of: Callable[..., str], body: dict[str, Any]
) -> None:
    assert len(fields(user("PATCH", f"/v1/tasks/{task_of('user')}", json=body))) == 1


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"title": "X"}), ("DELETE", None)])
def test_a_strangers_task_looks_like_none(
    user: Client, admin: Client, task_of: Callable[..., str], method: str, body: object
) -> None:
    more = {"json": body} if body else {}
    foreign = f"/v1/tasks/{task_of('other')}"
    answers = [user(method, path, **more) for path in (foreign, f"/v1/tasks/{uuid4()}", "/v1/tasks/nonsense")]
    problems = [answer.get_json() | {"request_id": None} for answer in answers]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert problems[0] == problems[1] == problems[2]
    assert admin(method, foreign, **more).status_code == 202


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/tasks/<own>", BATCH])
def test_whose_a_task_is_admins_may_choose(
    user: Client, admin: Client, people: People, task_of: Callable[..., str], path: str
) -> None:
    def asked(client: Client, whose: str) -> int:
        named = {"user_id": str(people[whose].id)}
        if path == BATCH:
            return client.post(path, {"action": "create", "tasks": [{"title": "X"}], "set": named}).status_code
        if path == "/v1/tasks":
            return client.post(path, {"title": "X"} | named).status_code
        return client("PATCH", path.replace("<own>", task_of("user")), json=named).status_code

    assert [asked(user, "user"), asked(user, "other"), asked(admin, "other")] == [202, 403, 202]


def test_who_is_no_admin_any_more_gives_nothing_away(
    admin: Client, road: Road, people: People, execute: Callable[..., Any]
) -> None:
    named = {"user_id": str(people["other"].id)}
    sent = [
        admin.post("/v1/tasks", {"title": "X"} | named),
        admin.post(BATCH, {"action": "create", "tasks": [{"title": "X"}], "set": named}),
        admin.post(BATCH, {"action": "create", "tasks": [{"title": "X"} | named]}),
    ]
    execute("UPDATE users SET role = 'user' WHERE id = %s", str(people["admin"].id))
    jobs = [done(road, answer) for answer in sent]
    assert [job["error"] and job["error"]["code"] for job in jobs] == ["forbidden", "forbidden", None]
    assert jobs[2]["result"]["items"][0]["error"]["code"] == "forbidden"
    assert road.rows("SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["action", "tasks"]),
        ({"action": "archive", "tasks": []}, ["action", "tasks"]),
        ({"action": "complete", "tasks": [ONE], "set": {"title": "X"}}, ["set"]),
        ({"action": "update", "tasks": [ONE], "set": {"title": ""}}, ["set.title"]),
        ({"action": "complete", "tasks": [ONE, ONE.upper()]}, ["tasks"]),
        ({"action": "complete", "tasks": ["x"] * 10_001}, ["tasks"]),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_is_wrong_with_a_batch_as_such_is_told_at_once(
    user: Client, body: dict[str, Any], wrong: list[str]
) -> None:
    assert fields(user.post(BATCH, body)) == wrong


def test_items_that_are_wrong_are_told_by_the_job(user: Client, road: Road, task_of: Callable[..., str]) -> None:
    mine, foreign, absent = task_of("user"), task_of("other"), str(uuid4())
    given = [mine, foreign, absent, "nonsense", None, 5, 10**40, {"id": mine.upper()[:-1]}]
    job = done(road, user.raw(json.dumps({"action": "complete", "tasks": given}).encode(), BATCH))
    items = job["result"]["items"]
    assert [item["success"] for item in items] == [True] + [False] * 7
    assert [item["error"]["code"] for item in items[1:]] == ["not_found"] * 3 + ["validation_failed"] * 3 + [
        "not_found"
    ]
    assert [item["task_id"] for item in items[:4]] == given[:4]
    assert [items[1]["error"], items[3]["error"]] == [items[2]["error"]] * 2


def test_a_name_that_is_repeated_in_an_item_is_no_json_of_ours(user: Client) -> None:
    body = b'{"action": "create", "tasks": [{"title": "One"}, {"title": "One", "title": "Two"}]}'
    assert fields(user.raw(body, BATCH)) == ["tasks.1.title"]


def test_a_batch_of_8_mib_is_taken_and_no_larger_one(user: Client, road: Road) -> None:
    def of_size(size: int) -> bytes:
        tasks = [{"title": f"Task {n}", "description": "x" * 9_000} for n in range(900)]
        body = json.dumps({"action": "create", "tasks": tasks}).encode()
        return body + b" " * (size - len(body))

    assert user.raw(of_size((8 << 20) + 1), BATCH).status_code == 413
    assert user.raw(of_size(2 << 20), "/v1/tasks").status_code == 413
    job = done(road, user.raw(of_size(8 << 20), BATCH))
    assert [item["success"] for item in job["result"]["items"]] == [True] * 900
    assert road.rows("SELECT count(*), min(length(description)) FROM tasks") == [(900, 9_000)]


def test_a_key_stands_for_one_batch(user: Client, road: Road) -> None:
    key, body = {"Idempotency-Key": "k"}, {"action": "create", "tasks": [{"title": "One"}, {"title": "Two"}]}
    first = user.post(BATCH, body, headers=key)
    job = done(road, first)
    again = user.post(BATCH, body, headers=key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert again.get_json()["result"] == job["result"]
    road.work()
    assert road.rows("SELECT count(*) FROM tasks") == [(2,)]
    for other in ({"action": "create", "tasks": [{"title": "One"}]}, body | {"atomic": True}):
        refused = user.post(BATCH, other, headers=key)
        assert (refused.status_code, refused.get_json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.usefixtures("worker")
def test_a_batch_can_be_waited_for(user: Client) -> None:
    body = {"action": "create", "tasks": [{"title": f"Task {n}"} for n in range(1_500)]}
    answer = user.post(BATCH, body, headers={"Prefer": "wait=20"})
    job = answer.get_json()
    assert (answer.status_code, job["status"]) == (200, "succeeded")
    ids = [item["task_id"] for item in job["result"]["items"]]
    assert (len(set(ids)), ids) == (1_500, sorted(ids))
    rest = user.post(BATCH, {"action": "delete", "tasks": ids}, headers={"Prefer": "wait=20"}).get_json()
    assert all(item["success"] for item in rest["result"]["items"])


@pytest.mark.parametrize("path", ["/v1/tasks", BATCH])
def test_a_batch_counts_as_one_request(
    make_app: Callable[..., Flask], signed_in: Callable[[Flask, str], Client], path: str
) -> None:
    client = signed_in(make_app(rate_limit_user="2/minute"), "user")
    body = {"action": "create", "tasks": [{"title": "X"}] * 50} if path == BATCH else {"title": "X"}
    answers = [client.post(path, body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[0].headers["X-RateLimit-Remaining"] == "1"
    assert int(answers[2].headers["Retry-After"]) >= 1
