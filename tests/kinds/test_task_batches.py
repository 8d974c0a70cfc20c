"""Tasks by the thousand, by the real executor on real PostgreSQL: each item has a result of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from jobs.kernel.context import Context
from jobs.kernel.outcome import Done, State
from jobs.kernel.submit import new_id
from jobs.task_batch import CHUNK, BatchTasks, nth_id
from models import task_store
from tests.kinds.test_tasks import DUE, People, Sql, created, done, dropped, shown
from tests.road import Road
from workers.work import opened

UNKNOWN = {
    "type": "urn:millrace:problem:not_found",
    "title": "Not Found",
    "status": 404,
    "detail": "There is no such resource.",
    "code": "not_found",
}


def batch(road: Road, action: str, tasks: list[Any], **more: Any) -> dict[str, Any]:
    """The job of a batch, carried out; `more`: of its body, and `by`, its sender."""
    sender = {"owner": more.pop("by")} if "by" in more else {}
    return done(road, "tasks.batch", {"action": action, "tasks": tasks} | more, **sender)


def items_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    assert job["status"] == "succeeded", job
    items: list[dict[str, Any]] = job["result"]["items"]
    return items


def codes(items: list[dict[str, Any]]) -> list[str | None]:
    """None for what has succeeded."""
    assert all(("error" in item) is not item["success"] is ("result" in item) for item in items)
    return [item["error"]["code"] if "error" in item else None for item in items]


def made(road: Road, number: int, **more: Any) -> list[str]:
    """The ids of so many new tasks."""
    titles = [{"title": f"Task {n}"} for n in range(number)]
    return [item["task_id"] for item in items_of(batch(road, "create", titles, **more))]


def stored(road: Road) -> dict[str, Any]:
    return {str(row.id): row for row in road.rows("SELECT * FROM tasks")}


def test_many_are_created_and_each_bears_an_id_that_follows_from_the_jobs(road: Road) -> None:
    given = [
        {"title": "One"},
        {"title": "Two", "priority": "low", "description": None},
        {"title": "Three", "due_date": DUE},
    ]
    job = batch(road, "create", given, set={"priority": "high", "description": "For all"})
    items = items_of(job)
    assert [item["task_id"] for item in items] == [str(nth_id(UUID(job["id"]), place)) for place in range(3)]
    assert [item["result"] for item in items] == [shown(road, item["task_id"]) for item in items]
    fields = ("title", "priority", "description", "due_date", "status", "user_id", "created_at", "version")
    also = ("pending", str(road.owner), job["submitted_at"], 1)
    assert [tuple(item["result"][name] for name in fields) for item in items] == [
        ("One", "high", "For all", None, *also),
        ("Two", "low", None, None, *also),
        ("Three", "high", "For all", DUE, *also),
    ]
    assert shown(road, job["id"]) is None
    assert job["links"]["resource"] is None


def test_many_are_updated_by_one_set_or_each_in_its_own_way(road: Road) -> None:
    ids = made(road, 4)
    given = [ids[0], {"id": ids[1].upper(), "title": "Own"}, {"task_id": ids[2], "priority": "low"}, {"id": ids[3]}]
    job = batch(road, "update", given, set={"priority": "high", "due_date": DUE})
    items = items_of(job)
    assert [item["task_id"] for item in items] == ids
    assert [item["result"] for item in items] == [shown(road, task) for task in ids]
    assert [(item["result"]["title"], item["result"]["priority"]) for item in items] == [
        ("Task 0", "high"),
        ("Own", "high"),
        ("Task 2", "low"),
        ("Task 3", "high"),
    ]
    assert {(item["result"]["due_date"], item["result"]["version"]) for item in items} == {(DUE, 2)}
    assert {item["result"]["updated_at"] for item in items} == {job["submitted_at"]}


def test_many_are_completed_and_those_that_are_stay_as_they_are(road: Road) -> None:
    ids = made(road, 3)
    first = batch(road, "complete", [ids[1]])
    job = batch(road, "complete", [ids[0], {"id": ids[1]}, {"task_id": ids[2]}])
    assert [item["result"] for item in items_of(job)] == [shown(road, task) for task in ids]
    updated = [first["submitted_at"] if task == ids[1] else job["submitted_at"] for task in ids]
    assert [(item["result"]["status"], item["result"]["updated_at"]) for item in items_of(job)] == [
        ("completed", each) for each in updated
    ]
    assert [item["result"]["version"] for item in items_of(job)] == [2, 2, 2]


def test_many_are_deleted(road: Road) -> None:
    ids = made(road, 3)
    job = batch(road, "delete", [ids[0], {"id": ids[2]}])
    assert items_of(job) == [{"task_id": task, "success": True, "result": None} for task in (ids[0], ids[2])]
    assert list(stored(road)) == [ids[1]]


@pytest.mark.parametrize("action", ["update", "complete", "delete"])
def test_what_is_wrong_with_one_item_spoils_no_other(road: Road, people: People, action: str) -> None:
    ids, (foreign,) = made(road, 2), made(road, 1, by=people["other"].id)
    absent, fields = str(new_id()), {"title": "X"} if action == "update" else {}
    wrong = [
        (absent, absent, "not_found"),
        (foreign.upper(), foreign, "not_found"),
        ({"id": foreign} | fields, foreign, "not_found"),
        ("nonsense", "nonsense", "not_found"),
        ("", "", "not_found"),
        ("x" * 1000, "x" * 200, "not_found"),
        ({"task_id": "nonsense"} | fields, "nonsense", "not_found"),
        (None, None, "validation_failed"),
        (5, None, "validation_failed"),
        ([ids[0]], None, "validation_failed"),
        ({}, None, "validation_failed"),
        ({"id": 5}, None, "validation_failed"),
        ({"id": None}, None, "validation_failed"),
        ({"id": absent, "task_id": absent}, absent, "validation_failed"),
        ({"id": absent, "colour": "red"}, absent, "validation_failed"),
    ]
    # an id may stand in a batch once only: those that are wrong go one at a time, between two that are good
    for item, task_id, code in wrong:
        good = made(road, 2)
        more = {"set": {"title": "X"}} if action == "update" else {}
        items = items_of(batch(road, action, [good[0], item, good[1]], **more))
        assert codes(items) == [None, code, None], item
        assert [each["task_id"] for each in items] == [good[0], task_id, good[1]]
        if code == "not_found":
            assert items[1]["error"] == UNKNOWN, "a foreign one looks like one that does not exist"
    assert stored(road)[foreign].version == 1


@pytest.mark.parametrize(
    ("item", "fields"),
    [
        ({}, ["title"]),
        ({"title": ""}, ["title"]),
        ({"title": 5}, ["title"]),
        ({"title": ["One"]}, ["title"]),
        ({"title": "X", "colour": "red", "status": "done"}, ["status", "colour"]),
        ({"title": "X", "id": "nonsense"}, ["id"]),
        ({"title": "X", "due_date": "soon", "user_id": "me"}, ["due_date", "user_id"]),
        ("A title", None),
        (None, None),
        (7, None),
        ([], None),
    ],
    ids=repr,
)
def test_an_item_that_makes_no_task_says_why(road: Road, item: Any, fields: list[str] | None) -> None:
    items = items_of(batch(road, "create", [{"title": "One"}, item, {"title": "Two"}]))
    assert codes(items) == [None, "validation_failed", None]
    refused = items[1]["error"]
    assert {"type", "title", "status", "detail", "code"} <= refused.keys()
    assert (refused["status"], [error["field"] for error in refused.get("errors", [])]) == (422, fields or [])
    assert sorted(row.title for row in stored(road).values()) == ["One", "Two"]


def test_an_update_that_changes_nothing_is_none(road: Road) -> None:
    ids = made(road, 2)
    items = items_of(batch(road, "update", [ids[0], {"id": ids[1], "title": "X"}]))
    assert codes(items) == ["validation_failed", None]
    assert items[0]["error"]["errors"] == [{"field": "", "message": "Names nothing to change"}]


def test_an_item_that_is_older_than_the_last_write_is_superseded(road: Road) -> None:
    ids = made(road, 3)
    older = road.submit("tasks.batch", {"action": "update", "tasks": ids, "set": {"title": "Older"}})
    deliveries = road.reserve()
    done(road, "tasks.amend", {"title": "Newer"}, target=UUID(ids[1]))
    road.leases.settle(road.execute(deliveries))
    assert codes(items_of(road.job(older))) == [None, "superseded", None]
    assert [stored(road)[task].title for task in ids] == ["Older", "Newer", "Older"]


def test_who_is_no_admin_gives_no_item_to_others(road: Road, people: People) -> None:
    ids = made(road, 2)
    users = [str(road.owner), str(people["other"].id)]
    new = [{"title": "X", "user_id": user} for user in users]
    changed = [{"id": task, "user_id": user} for task, user in zip(ids, users, strict=True)]
    for action, tasks in (("create", new), ("update", changed)):
        assert codes(items_of(batch(road, action, tasks))) == [None, "forbidden"]
    assert {row.owner_id for row in stored(road).values()} == {road.owner}
    assert batch(road, "update", ids, set={"user_id": users[1]})["error"]["code"] == "forbidden"


@pytest.mark.parametrize("action", ["update", "complete", "delete"])
def test_an_admin_changes_tasks_of_several_owners(road: Road, execute: Sql, people: People, action: str) -> None:
    tasks = [str(created(road)), str(created(road, owner=people["other"].id))]
    by_admin = {"by": people["admin"].id} | ({"set": {"title": "X"}} if action == "update" else {})
    job = batch(road, action, tasks, **by_admin)
    assert codes(items_of(job)) == [None, None]
    assert dropped(execute, job) == sorted(f"tasks:{people[name].id}" for name in ("user", "other"))
    again = batch(road, "complete", tasks, by=people["admin"].id)
    if action == "complete":
        assert dropped(execute, again) is None, "nothing has changed"


def test_an_admin_names_owners_and_what_is_not_there_spoils_no_other(road: Road, execute: Sql, people: People) -> None:
    users = [str(people["user"].id), str(new_id()), str(people["other"].id)]
    new = [{"title": "X", "user_id": user} for user in users]
    job = batch(road, "create", [*new, {"title": "X"}], by=people["admin"].id)
    assert codes(items_of(job)) == [None, "unknown_user", None, None]
    assert dropped(execute, job) == sorted(f"tasks:{users[place]}" for place in (0, 2))
    given = [items_of(job)[0]["task_id"]]
    moved = batch(road, "update", given, set={"user_id": users[2].upper()}, by=people["admin"].id)
    assert items_of(moved)[0]["result"]["user_id"] == users[2]
    assert dropped(execute, moved) == dropped(execute, job)


@pytest.mark.parametrize("action", ["create", "update", "complete", "delete"])
def test_all_or_nothing(road: Road, action: str) -> None:
    ids = made(road, 3)
    before = stored(road)
    bad = {"create": {"title": ""}, "update": {"id": ids[1], "priority": "urgent"}}.get(action, str(new_id()))
    good: list[Any] = [{"title": "X"}] * 2 if action == "create" else [ids[0], ids[2]]
    more = {"set": {"title": "X"}} if action in ("create", "update") else {}
    job = batch(road, action, [good[0], bad, good[1]], atomic=True, **more)
    assert (job["status"], job["result"], job["error"]["code"], job["error"]["status"]) == (
        "rejected",
        None,
        "batch_rejected",
        409,
    )
    where = {"create": "tasks.1.title", "update": "tasks.1.priority"}.get(action, "tasks.1")
    assert [error["field"] for error in job["error"]["errors"]] == [where]
    assert stored(road) == before
    assert codes(items_of(batch(road, action, good, atomic=True, **more))) == [None, None]
    assert stored(road) != before


def test_of_what_is_wrong_with_all_or_nothing_the_first_hundred_are_named(road: Road) -> None:
    job = batch(road, "complete", [str(new_id()) for _ in range(150)], atomic=True)
    assert job["error"]["errors"] == [
        {"field": f"tasks.{place}", "message": "There is no such resource."} for place in range(100)
    ]


def test_ten_thousand_with_a_hundred_bad_ones_give_ten_thousand_results_in_order(road: Road) -> None:
    ids = made(road, 9_900)
    mixed: list[str] = []
    for place in range(100):
        mixed += [*ids[place * 99 : place * 99 + 99], str(new_id())]
    items = items_of(batch(road, "complete", mixed))
    assert [item["task_id"] for item in items] == mixed
    assert [place for place, item in enumerate(items) if not item["success"]] == list(range(99, 10_000, 100))
    assert road.rows("SELECT status, version, count(*) FROM tasks GROUP BY 1, 2") == [("completed", 2, 9_900)]
    assert codes(items_of(batch(road, "delete", mixed))).count(None) == 9_900
    assert road.rows("SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize(("atomic", "bad"), [(False, False), (False, True), (True, False), (True, True)])
def test_progress_moves_with_what_is_written(road: Road, atomic: bool, bad: bool) -> None:
    total, seen = CHUNK * 2 + 500, []
    tasks = [{"title": f"Task {n}"} for n in range(total)]
    if bad:
        tasks[-1] = {"title": ""}
    job_id = road.submit("tasks.batch", {"action": "create", "tasks": tasks, "atomic": atomic})
    job = opened(road.reserve()[0]).job
    assert job is not None
    with road.sessions() as session:

        def report(about: UUID, done: int, of: int) -> None:
            ((written,),) = session.connection().exec_driver_sql("SELECT count(*) FROM tasks").all()
            seen.append((about, done, of, written))

        (outcome,) = BatchTasks.handle_many(Context(session, road.settings, job.moment, {}, report), [job])
    assert isinstance(outcome, Done)
    if atomic and bad:
        assert seen == [(job_id, 0, total, 0)]
        assert (outcome.state, outcome.progress) == (State.REJECTED, {"done": 0, "total": total})
    else:
        steps = [(0, 0), (CHUNK, CHUNK), (CHUNK * 2, CHUNK * 2), (total, total - bad)]
        assert seen == [(job_id, done, total, written) for done, written in steps]
        assert (outcome.state, outcome.progress) == (State.SUCCEEDED, {"done": total, "total": total})


def test_a_batch_delivered_twice_makes_each_task_once(road: Road) -> None:
    job_id = road.submit("tasks.batch", {"action": "create", "tasks": [{"title": f"Task {n}"} for n in range(50)]})
    (delivery,) = road.reserve()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(road.execute, [[delivery], [delivery]])
    assert first[0].verdict == second[0].verdict
    road.leases.settle(first)
    assert {item["task_id"] for item in items_of(road.job(job_id))} == stored(road).keys()
    assert len(stored(road)) == 50


def test_a_batch_whose_worker_died_makes_the_same_ids(road: Road) -> None:
    job_id = road.submit("tasks.batch", {"action": "create", "tasks": [{"title": f"Task {n}"} for n in range(50)]})
    work = opened(road.reserve()[0])
    with road.sessions() as session:  # rolled back, as by death
        (outcome,) = BatchTasks.handle_many(Context(session, road.settings, work.delivery.moment, {}), [work.job])
    road.expire_leases()
    road.work()
    assert isinstance(outcome, Done)
    assert road.job(job_id)["result"] == outcome.result


def test_workers_with_batches_in_opposite_orders_do_not_deadlock_and_lose_nothing(
    road: Road, rollbacks: list[str]
) -> None:
    ids = made(road, 300)
    sent = []
    for n in range(24):
        order = ids if n % 2 else ids[::-1]
        if n % 3:
            body = {"action": "update", "tasks": order[n : n + 250], "set": {"title": f"Batch {n}"}}
            sent.append(road.submit("tasks.batch", body))
        else:
            sent += [road.submit("tasks.amend", {"priority": "high"}, target=UUID(order[at])) for at in range(10)]
    road.work_at_once("tasks")
    applied = 0
    for job_id in sent:
        job = road.job(job_id)
        if job["kind"] == "tasks.batch":
            assert set(codes(items_of(job))) <= {None, "superseded"}
            applied += codes(items_of(job)).count(None)
        else:
            assert road.code(job_id) in (None, "superseded")
            applied += road.code(job_id) is None
    assert applied > 250
    assert road.rows("SELECT sum(version - 1) FROM tasks") == [(applied,)]
    assert rollbacks == []


def test_a_result_tells_no_more_text_than_a_request_may_hold(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.task_batch.MOST_TEXT", 25)
    ids = made(road, 4, set={"description": "x" * 5})
    batch(road, "update", ids, set={"description": "y" * 6})
    told = items_of(batch(road, "complete", ids))
    assert ["description" in item["result"] for item in told] == [True] * 4
    monkeypatch.setattr("jobs.task_batch.MOST_TEXT", 20)
    told = items_of(batch(road, "update", ids, set={"priority": "high"}))
    assert ["description" in item["result"] for item in told] == [True] * 3 + [False]
    assert {row.description for row in road.rows("SELECT description FROM tasks")} == {"y" * 6}


def test_long_texts_are_written_by_few(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.task_batch.CHUNK_TEXT", 25)
    written: list[int] = []
    write = task_store.write
    monkeypatch.setattr(task_store, "write", lambda session, some: (written.append(len(some)), write(session, some)))
    made(road, 10, set={"description": "x" * 10})
    assert written == [3, 3, 3, 1, 0]


def test_a_tag_is_of_one_resource_and_says_nothing_of_many(road: Road) -> None:
    ids = made(road, 2)
    job = road.submit("tasks.batch", {"action": "complete", "tasks": ids}, if_match=("v7",))
    road.work()
    assert codes(items_of(road.job(job))) == [None, None]
