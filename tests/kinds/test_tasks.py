"""Tasks, one by one, by the real executor on real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from jobs.kernel.outcome import State
from jobs.kernel.submit import new_id
from models import Task, views
from tests.conftest import Person
from tests.road import Road

Sql = Callable[..., list[tuple[Any, ...]]]
People = dict[str, Person]

DUE = "2027-01-31T09:30:00.000000Z"


def done(road: Road, kind: str, body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The job, carried out."""
    job_id = road.submit(kind, body, **more)
    road.work()
    return road.job(job_id)


def created(road: Road, **more: Any) -> UUID:
    """A task of the user's, or of another `owner`'s."""
    job = done(road, "tasks.create", {"title": "A task"} | more.pop("body", {}), **more)
    assert job["status"] == "succeeded", job
    return UUID(job["id"])


def shown(road: Road, task: UUID | str) -> dict[str, Any] | None:
    """A task as a GET shows it."""
    with road.sessions() as session:
        row = session.get(Task, UUID(str(task)))
        return row and views.task(row)


def dropped(execute: Sql, job: dict[str, Any]) -> list[str] | None:
    """The scopes of the read cache that the job's outcome drops, beside the sender's."""
    ((effects,),) = execute("SELECT effects FROM receipts WHERE id = %s::uuid", job["id"])
    return effects and effects["drops"]


@pytest.mark.parametrize(
    ("body", "means"),
    [
        ({}, {}),
        ({"description": "More\nof it", "status": "in_progress", "priority": "high", "due_date": DUE}, {}),
        ({"due_date": "2001-01-31T11:30:00+02:00"}, {"due_date": "2001-01-31T09:30:00.000000Z"}),
        ({"description": None, "due_date": None, "user_id": None}, {"user_id": "the user's"}),
        ({"title": "tab\\t \\N 'quoted' \"twice\" \N{PARTY POPPER}", "description": "a\tb\\.\r\n"}, {}),
    ],
)
def test_a_new_task_bears_the_jobs_id_and_the_moment_it_was_accepted(
    road: Road, body: dict[str, Any], means: dict[str, Any]
) -> None:
    job = done(road, "tasks.create", {"title": "A task"} | body)
    whose = {"user_id": str(road.owner)}
    assert job["result"] == shown(road, job["id"])
    assert (
        job["result"]
        == {
            "id": job["id"],
            "title": "A task",
            "description": None,
            "status": "pending",
            "priority": "medium",
            "due_date": None,
            "overdue_at": None,
            "created_at": job["submitted_at"],
            "updated_at": job["submitted_at"],
            "version": 1,
        }
        | body
        | means
        | whose
    )
    assert job["links"]["resource"] == f"/v1/tasks/{job['id']}"


def test_what_is_left_out_of_an_amendment_stays(road: Road) -> None:
    task = created(road, body={"description": "Of old", "priority": "high", "due_date": DUE})
    before = shown(road, task) or {}
    job = done(road, "tasks.amend", {"title": "Anew", "description": None}, target=task)
    assert job["result"] == shown(road, task)
    assert job["result"] == before | {
        "title": "Anew",
        "description": None,
        "updated_at": job["submitted_at"],
        "version": 2,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "Anew"},
        {"description": "Anew"},
        {"status": "completed"},
        {"priority": "low"},
        {"due_date": DUE},
        {"status": "in_progress", "priority": "high"},
    ],
    ids=repr,
)
def test_each_field_can_be_amended_by_itself(road: Road, fields: dict[str, Any]) -> None:
    task = created(road)
    before = shown(road, task) or {}
    job = done(road, "tasks.amend", fields, target=task)
    assert shown(road, task) == before | fields | {"updated_at": job["submitted_at"], "version": 2}


def test_a_deleted_task_is_gone(road: Road) -> None:
    task = created(road)
    job = done(road, "tasks.delete", target=task)
    assert (job["status"], job["result"], shown(road, task)) == ("succeeded", None, None)
    again = [done(road, "tasks.delete", target=task), done(road, "tasks.amend", {"title": "X"}, target=task)]
    assert [job["error"]["code"] for job in again] == ["not_found"] * 2


@pytest.mark.parametrize("most", [1, 100])
def test_many_commands_about_one_task_are_decided_in_order(road: Road, most: int) -> None:
    """One by one, or all in one transaction, a task that is made in it included."""
    task = road.submit("tasks.create", {"title": "A task"})
    ids = [
        road.submit("tasks.amend", {"title": "One", "priority": "high"}, target=task),
        road.submit("tasks.batch", {"action": "complete", "tasks": [str(task)]}),
        road.submit("tasks.amend", {"title": "Two"}, target=task),
    ]
    road.work(most)
    assert {road.status(job_id) for job_id in ids} == {State.SUCCEEDED}
    end = shown(road, task) or {}
    assert [end[name] for name in ("title", "priority", "status", "version")] == ["Two", "high", "completed", 4]
    made = [road.job(job_id)["result"] for job_id in ids]
    assert made[1]["items"][0]["result"]["version"] == 3
    gone = [
        road.submit("tasks.delete", target=task),
        road.submit("tasks.amend", {"title": "Three"}, target=task),
        road.submit("tasks.batch", {"action": "delete", "tasks": [str(task)]}),
    ]
    road.work(most)
    assert [road.code(job_id) for job_id in gone] == [None, "not_found", None]
    assert road.job(gone[2])["result"]["items"][0]["error"]["code"] == "not_found"
    assert shown(road, task) is None


@pytest.mark.parametrize("kind", ["tasks.amend", "tasks.delete"])
@pytest.mark.parametrize(
    ("tags", "code"),
    [
        (("v1",), None),
        (("*",), None),
        (("v9", "v1"), None),
        (("v2",), "precondition_failed"),
        ((), "precondition_failed"),
    ],
)
def test_if_match_is_decided_by_the_worker(road: Road, kind: str, tags: tuple[str, ...], code: str | None) -> None:
    task = created(road)
    body = {"title": "X"} if kind == "tasks.amend" else {}
    job_id = road.submit(kind, body, target=task, if_match=tags)
    road.work()
    assert road.code(job_id) == code


@pytest.mark.parametrize(
    ("kind", "body", "more", "code"),
    [
        ("tasks.amend", {"title": "Older"}, {}, "superseded"),
        ("tasks.amend", {"title": "Older"}, {"if_match": ("v2",)}, None),
        ("tasks.delete", {}, {}, None),
    ],
)
def test_an_older_amendment_never_overwrites_a_newer_one_unknowingly(
    road: Road, kind: str, body: dict[str, Any], more: dict[str, Any], code: str | None
) -> None:
    task = created(road)
    older = road.submit(kind, body, target=task, **more)
    deliveries = road.reserve()
    newer = done(road, "tasks.amend", {"title": "Newer"}, target=task)
    road.leases.settle(road.execute(deliveries))
    assert road.code(older) == code
    if code is None and body:
        end = road.job(older)["result"]
        assert (end["title"], end["version"], end["updated_at"]) == ("Older", 3, newer["submitted_at"])


@pytest.mark.parametrize("kind", ["tasks.amend", "tasks.delete"])
def test_a_strangers_task_looks_like_one_that_is_not_there(road: Road, people: People, kind: str) -> None:
    task = created(road, owner=people["other"].id)
    body = {"title": "X"} if kind == "tasks.amend" else {}
    ids = [
        road.submit(kind, body, target=task),
        road.submit(kind, body, target=new_id()),
        road.submit(kind, body, target=new_id(), owner=people["admin"].id),
    ]
    road.work()
    assert [road.code(job_id) for job_id in ids] == ["not_found"] * 3
    assert (shown(road, task) or {})["version"] == 1


@pytest.mark.parametrize(
    ("due", "cleared"), [("2028-01-01T00:00:00Z", True), (None, True), (DUE, False), ("left out", False)]
)
def test_another_due_date_can_be_missed_anew(road: Road, execute: Sql, due: str | None, cleared: bool) -> None:
    task = created(road, body={"due_date": DUE})
    execute("UPDATE tasks SET overdue_at = now() WHERE id = %s::uuid", str(task))
    done(road, "tasks.amend", {"title": "X"} if due == "left out" else {"due_date": due}, target=task)
    assert ((shown(road, task) or {})["overdue_at"] is None) is cleared


@pytest.mark.parametrize(
    ("by", "to", "code"),
    [
        ("user", "user", None),
        ("user", "other", "forbidden"),
        ("admin", "other", None),
        ("admin", "nobody", "unknown_user"),
        ("admin", "deleted", "unknown_user"),
        ("admin", "disabled", None),
    ],
)
def test_whose_a_task_is_admins_may_choose(
    road: Road, execute: Sql, people: People, by: str, to: str, code: str | None
) -> None:
    if to in ("deleted", "disabled"):
        execute(f"UPDATE users SET {to}_at = now() WHERE id = %s::uuid", str(people["other"].id))
    named = str(new_id() if to == "nobody" else people.get(to, people["other"]).id)
    task, by_whom = created(road), people[by].id
    jobs = [
        done(road, "tasks.create", {"title": "X", "user_id": named}, owner=by_whom),
        done(road, "tasks.amend", {"user_id": named}, target=task, owner=by_whom),
        done(road, "tasks.batch", {"action": "create", "tasks": [{"title": "X", "user_id": named}]}, owner=by_whom),
        done(
            road,
            "tasks.batch",
            {"action": "update", "tasks": [{"id": str(task), "user_id": named}], "atomic": False},
            owner=by_whom,
        ),
    ]
    items = [job["result"]["items"][0] for job in jobs[2:]]
    assert [(job["error"] or {}).get("code") for job in jobs[:2]] == [code] * 2
    assert [item.get("error", {}).get("code") for item in items] == [code] * 2
    if code is None:
        ends = [job["result"] for job in jobs[:2]] + [item["result"] for item in items]
        assert {end["user_id"] for end in ends} == {named}
    else:
        assert {row[0] for row in road.rows("SELECT owner_id FROM tasks")} == {road.owner}


@pytest.mark.parametrize(
    ("by", "kind", "body", "dropped_of"),
    [
        ("user", "tasks.amend", {"title": "X"}, None),
        ("user", "tasks.delete", {}, None),
        ("admin", "tasks.amend", {"title": "X"}, {"user"}),
        ("admin", "tasks.delete", {}, {"user"}),
        ("admin", "tasks.amend", {"user_id": "other"}, {"user", "other"}),
        ("admin", "tasks.create", {"title": "X", "user_id": "other"}, {"other"}),
        ("admin", "tasks.create", {"title": "X"}, None),
    ],
)
def test_what_reads_keep_of_everybody_whose_tasks_change_is_dropped(
    road: Road, execute: Sql, people: People, by: str, kind: str, body: dict[str, Any], dropped_of: set[str] | None
) -> None:
    task = created(road)
    if "user_id" in body:
        body = body | {"user_id": str(people["other"].id)}
    target = {} if kind == "tasks.create" else {"target": task}
    job = done(road, kind, body, owner=people[by].id, **target)
    assert job["status"] == "succeeded"
    wanted = sorted(f"tasks:{people[name].id}" for name in dropped_of) if dropped_of else None
    assert dropped(execute, job) == wanted


def test_a_task_that_is_given_away_is_out_of_reach(road: Road, people: People) -> None:
    task = created(road)
    done(road, "tasks.amend", {"user_id": str(people["other"].id)}, target=task, owner=people["admin"].id)
    assert done(road, "tasks.amend", {"title": "X"}, target=task)["error"]["code"] == "not_found"
    assert done(road, "tasks.amend", {"title": "X"}, target=task, owner=people["other"].id)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("status", "amendments", "marked"),
    [
        ("pending", [], True),
        ("completed", [], False),
        ("completed", [{"title": "X"}], False),
        ("completed", [{"status": "pending"}], True),
        ("completed", [{"status": "pending"}, {"status": "completed"}], False),
        ("completed", [{"due_date": DUE}, {"status": "pending"}], False),
    ],
    ids=repr,
)
def test_a_task_that_was_completed_when_it_was_due_is_overdue_once_it_is_open_again(
    road: Road, status: str, amendments: list[dict[str, Any]], marked: bool
) -> None:
    task = created(road, body={"status": status, "due_date": "2001-01-01T00:00:00Z"})
    done(road, "tasks.mark_overdue", owner=None)
    for amendment in amendments:
        done(road, "tasks.amend", amendment, target=task)
    done(road, "tasks.mark_overdue", owner=None)
    assert ((shown(road, task) or {})["overdue_at"] is not None) is marked
    assert road.rows("SELECT count(*) FROM outbox") == [(int(marked),)]
    done(road, "tasks.mark_overdue", owner=None)
    assert road.rows("SELECT count(*) FROM outbox") == [(int(marked),)]
