"""Tasks that are overdue: each is marked and noted down once, whoever looks and however often."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from rq import Worker

from jobs import overdue
from jobs.kernel.outcome import State
from models import views
from tests.processes import python, running, until
from tests.road import Road

Execute = Callable[..., Any]
INSERT = """
    INSERT INTO tasks (id, owner_id, title, status, priority, due_date, created_at, updated_at)
    SELECT gen_random_uuid(), %s, 'late ' || number, %s, 1, now() + %s * interval '1 minute', now(), now()
    FROM generate_series(1, %s) AS number RETURNING id::text
"""
TOLD = "SELECT subject_id::text, count(*)::int FROM outbox WHERE kind = 'task.overdue' GROUP BY 1"
MARKED = "SELECT id::text FROM tasks WHERE overdue_at IS NOT NULL"


@pytest.fixture(autouse=True)
def nothing_noted(execute: Execute) -> None:
    execute("TRUNCATE tasks, outbox")


def tasks(execute: Execute, owner: UUID | None, number: int = 1, status: str = "pending", due: int = -1) -> list[str]:
    """Tasks of somebody that are due in so many minutes."""
    return [name for (name,) in execute(INSERT, str(owner), status, due, number)]


def look(road: Road) -> UUID:
    return road.submit("tasks.mark_overdue", owner=None)


def test_what_is_past_due_and_not_completed_is_marked_and_noted_down(road: Road, execute: Execute) -> None:
    late = tasks(execute, road.owner, 2) + tasks(execute, road.owner, 1, "in_progress")
    tasks(execute, road.owner, 1, "completed")
    tasks(execute, road.owner, 1, due=60)
    job = look(road)
    road.work()
    assert road.job(job)["result"] == {"marked": 3}
    assert {name for (name,) in execute(MARKED)} == set(late)
    assert dict(execute(TOLD)) == dict.fromkeys(late, 1)


def test_a_task_without_a_due_date_is_never_overdue(road: Road, execute: Execute) -> None:
    tasks(execute, road.owner)
    execute("UPDATE tasks SET due_date = NULL")
    look(road)
    road.work()
    assert execute(MARKED) == []


def test_a_note_says_how_the_task_looked_then(road: Road, execute: Execute) -> None:
    (late,) = tasks(execute, road.owner)
    look(road)
    road.work()
    ((payload, owner, sent_at),) = execute("SELECT payload, owner_id::text, sent_at FROM outbox")
    assert (payload["id"], payload["version"], owner, sent_at) == (late, 2, str(road.owner), None)
    ((at,),) = execute("SELECT overdue_at FROM tasks")
    assert payload["overdue_at"] == views.instant(at)


def test_it_is_marked_once_however_often_one_looks(road: Road, execute: Execute) -> None:
    late = tasks(execute, road.owner, 3)
    for _ in range(3):
        look(road)
        road.work()
    late += tasks(execute, road.owner, 2)
    look(road)
    road.work()
    assert dict(execute(TOLD)) == dict.fromkeys(late, 1)


def test_more_than_one_transaction_takes_are_marked_in_one_look(
    road: Road, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overdue, "TOGETHER", 10)
    late = tasks(execute, road.owner, 35)
    job = look(road)
    road.work()
    assert road.job(job)["result"] == {"marked": 35}
    assert dict(execute(TOLD)) == dict.fromkeys(late, 1)


def test_looks_at_the_same_moment_share_them(road: Road, execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overdue, "TOGETHER", 20)
    late = tasks(execute, road.owner, 400)
    found = [look(road) for _ in range(4)]
    deliveries = road.reserve()
    with ThreadPoolExecutor(4) as pool:
        settled = list(pool.map(lambda delivery: road.execute([delivery]), deliveries))
    for settlements in settled:
        road.leases.settle(settlements)
    assert sum(road.job(job)["result"]["marked"] for job in found) == 400
    assert dict(execute(TOLD)) == dict.fromkeys(late, 1)


def test_a_task_that_somebody_is_changing_is_left_to_the_next_look(road: Road, execute: Execute) -> None:
    first, second = tasks(execute, road.owner, 2)
    with road.sessions() as other:
        other.connection().exec_driver_sql("UPDATE tasks SET status = 'completed' WHERE id = %s", (first,))
        look(road)
        road.work()
        assert dict(execute(TOLD)) == {second: 1}
        other.rollback()
    look(road)
    road.work()
    assert dict(execute(TOLD)) == {first: 1, second: 1}


def test_who_may_have_lost_the_lease_marks_no_more(road: Road, execute: Execute) -> None:
    from workers.work import opened

    tasks(execute, road.owner)
    look(road)
    (delivery,) = road.reserve()
    road.conduct(opened(delivery), lambda: False)
    assert execute(TOLD) == []


def test_two_schedulers_and_four_workers_note_five_hundred_down_once(
    road: Road, execute: Execute, tmp_path: Path
) -> None:
    """Looks every second, and some at the same moment besides; each task is logged once as well."""
    late = [name for _ in range(5) for name in tasks(execute, uuid4(), 100)]
    settings = road.of_worker.model_copy(update={"overdue_every_seconds": 1})
    logs, scheduler = tmp_path / "workers.log", python("-m", "workers.scheduler")
    crew = python("-m", "workers", "--queues", "deliveries", "--processes", "4", "--threads", "2")
    jobs = [look(road) for _ in range(8)]
    with (
        running(scheduler, settings, tmp_path / "scheduler.log"),
        running(scheduler, settings, tmp_path / "other.log"),
        running(crew, settings, logs),
    ):
        until(lambda: Worker.count(connection=road.redis) >= 4)
        until(lambda: dict(execute(TOLD)).keys() == set(late))
        late += tasks(execute, road.owner, 50)
        until(lambda: dict(execute(TOLD)).keys() == set(late))
        until(lambda: all(road.status(job) is State.SUCCEEDED for job in jobs))
    assert dict(execute(TOLD)) == dict.fromkeys(late, 1)
    lines = [json.loads(line) for line in logs.read_text().splitlines() if "task_overdue" in line]
    assert sorted(line["task_id"] for line in lines) == sorted(late)
