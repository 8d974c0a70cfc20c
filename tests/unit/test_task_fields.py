"""What a client may say of a task, and of many; and who may say whose it is."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from pydantic import ValidationError

from jobs.kernel.envelope import dump, load, open_command, pack
from jobs.kernel.field_errors import field_errors
from jobs.kernel.submit import keyed_id, new_id
from jobs.task_batch import BatchTasks, nth_id
from jobs.tasks import AmendTask, CreateTask, TaskCommand

ONE, OTHER = "0198c2d4-1b0a-7e55-8f4e-5a6b7c8d9e0f", "0198c2d4-1b0a-7e55-8f4e-5a6b7c8d9e10"


def create(**fields: Any) -> CreateTask:
    return CreateTask.model_validate_json(orjson.dumps({"title": "One"} | fields))


def amend(**fields: Any) -> AmendTask:
    return AmendTask.model_validate_json(orjson.dumps(fields))


def batch(action: str, tasks: Any, **more: Any) -> BatchTasks:
    return BatchTasks.model_validate_json(orjson.dumps({"action": action, "tasks": tasks} | more))


def wrong_fields(refused: pytest.ExceptionInfo[ValidationError]) -> list[str]:
    return [error["field"] for error in field_errors(refused.value)]


GOOD = [
    {"title": "x"},
    {"title": "x" * 200},
    {"title": " Ünï 任務 \N{PARTY POPPER} "},
    {"description": "x" * 10_000},
    {"description": "two\nlines\tand more"},
    {"description": ""},
    {"description": None},
    {"status": "in_progress"},
    {"priority": "high"},
    {"due_date": "1999-12-31T23:59:59+01:00"},
    {"due_date": None},
    {"user_id": ONE.upper()},
]
BAD: list[dict[str, Any]] = [
    {"title": ""},
    {"title": "   "},
    {"title": "\N{NO-BREAK SPACE}"},
    {"title": "x" * 201},
    {"title": "a\nb"},
    {"title": "a\x00b"},
    {"title": "a\x85b"},
    {"title": None},
    {"title": 5},
    {"description": "x" * 10_001},
    {"description": 5},
    {"status": "done"},
    {"status": None},
    {"status": True},
    {"priority": "urgent"},
    {"priority": 2},
    {"priority": None},
    {"due_date": "tomorrow"},
    {"due_date": 1700000000},
    {"due_date": "2026-01-01T00:00:00"},
    {"user_id": "me"},
    {"user_id": 7},
    {"user_id": "urn:uuid:" + ONE},
    {"colour": "red"},
    {"id": ONE},
]


@pytest.mark.parametrize("fields", GOOD, ids=repr)
def test_what_may_be_said_of_a_task_may_be_said_of_a_new_one_and_of_one_that_is_there(fields: dict[str, Any]) -> None:
    assert create(**fields).model_fields_set == {"title"} | fields.keys()
    assert amend(**fields).given().keys() == fields.keys()


@pytest.mark.parametrize("fields", BAD, ids=repr)
def test_what_may_not_is_refused_by_its_name(fields: dict[str, Any]) -> None:
    for said in (create, amend):
        with pytest.raises(ValidationError) as refused:
            said(**fields)
        assert wrong_fields(refused) == list(fields)


def test_a_new_task_has_defaults_and_needs_a_title() -> None:
    task = create()
    assert (task.description, task.status, task.priority, task.due_date, task.user_id) == (
        None,
        "pending",
        "medium",
        None,
        None,
    )
    with pytest.raises(ValidationError, match="title"):
        CreateTask.model_validate_json(b'{"priority": "high"}')


def test_an_amendment_has_to_change_something() -> None:
    with pytest.raises(ValidationError, match="names nothing to change"):
        amend()


@pytest.mark.parametrize(
    "command",
    [create, amend, lambda **fields: batch("update", [ONE], set=fields)],
    ids=["create", "amend", "batch"],
)
def test_who_is_no_admin_names_nobody_but_themselves(command: Any) -> None:
    sender, somebody = uuid4(), str(uuid4())
    for user, by_user in ((str(sender), True), (somebody, False)):
        named: TaskCommand = command(user_id=user)
        assert [named.admits(role, sender) for role in (None, "user", "admin")] == [False, by_user, True]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"tasks": [ONE]}, "action"),
        ({"action": "archive", "tasks": [ONE]}, "action"),
        ({"action": "complete"}, "tasks"),
        ({"action": "complete", "tasks": []}, "tasks"),
        ({"action": "complete", "tasks": ONE}, "tasks"),
        ({"action": "complete", "tasks": {"0": ONE}}, "tasks"),
        ({"action": "create", "tasks": [{"title": "x"}] * 10_001}, "tasks"),
        ({"action": "complete", "tasks": [ONE], "set": {"status": "completed"}}, "set"),
        ({"action": "delete", "tasks": [ONE], "set": {}}, "set"),
        ({"action": "update", "tasks": [ONE], "set": {"status": "done", "colour": 1}}, "set.status set.colour"),
        ({"action": "create", "tasks": [{}], "set": {"title": ""}}, "set.title"),
        ({"action": "update", "tasks": [ONE], "set": 5}, "set"),
        ({"action": "complete", "tasks": [ONE], "atomic": "yes"}, "atomic"),
        ({"action": "complete", "tasks": [ONE], "colour": 1}, "colour"),
        ({"action": "complete", "tasks": [ONE, OTHER, ONE]}, "tasks"),
        ({"action": "delete", "tasks": [ONE, ONE.upper()]}, "tasks"),
        ({"action": "update", "tasks": [ONE, {"id": ONE.upper(), "title": "x"}]}, "tasks"),
        ({"action": "update", "tasks": [{"task_id": ONE, "title": "x"}, {"id": ONE, "title": "y"}]}, "tasks"),
    ],
    ids=lambda value: repr(value)[:80],
)
def test_what_is_wrong_with_a_batch_as_such_is_refused(body: dict[str, Any], fields: str) -> None:
    with pytest.raises(ValidationError) as refused:
        BatchTasks.model_validate_json(orjson.dumps(body))
    assert set(wrong_fields(refused)) == set(fields.split())


def test_what_is_named_twice_is_named() -> None:
    with pytest.raises(ValidationError, match="items 1 and 3 name the same task"):
        batch("complete", [str(uuid4()), ONE, "nonsense", {"task_id": ONE.upper()}, "nonsense"])


@pytest.mark.parametrize("action", ["create", "update", "complete", "delete"])
@pytest.mark.parametrize(
    "item", [None, 5, 10**40, 1.5, True, [], [ONE], {}, {"title": 10**40}, "nonsense", ""], ids=repr
)
def test_an_item_that_is_wrong_refuses_no_batch_and_can_travel(action: str, item: Any) -> None:
    body = f'{{"action": "{action}", "tasks": [{json.dumps(item)}, "{ONE}"]}}'
    sent = BatchTasks.model_validate_json(body)
    received = open_command(load(dump(pack(sent))))
    assert received == sent


@pytest.mark.parametrize(
    "job_id",
    [
        new_id(),
        keyed_id("secret", uuid4(), "key"),
        UUID("0198c2d4-1b0a-7e55-bfff-ffffffffffff"),
        UUID("0198c2d4-1b0a-7e55-bfff-fffffffffff0"),
    ],
    ids=["new", "keyed", "the last", "near the last"],
)
def test_ids_of_what_a_batch_creates_follow_from_its_jobs(job_id: UUID) -> None:
    ids = [nth_id(job_id, place) for place in range(10_000)]
    assert len({*ids, job_id}) == 10_001
    assert {(each.int >> 62, each.variant, each.version) for each in ids} == {
        (job_id.int >> 62, job_id.variant, job_id.version)
    }
    assert ids == [nth_id(job_id, place) for place in range(10_000)]
    assert (ids[0].int - job_id.int) % 2**62 == 1


def test_what_is_wrong_in_an_item_is_told_apart_all_the_same() -> None:
    """Else a key would stand for more bodies than one."""
    wrong = [1, 2, True, [], [ONE], {"a": 1}, None, "text"]
    sent = [batch("create", [{"title": value}]).model_dump_json() for value in wrong]
    assert len(set(sent)) == len(wrong)


def test_a_text_for_all_items_is_bounded_by_how_many_they_are() -> None:
    text = {"description": "x" * 10_000}
    assert batch("create", [{"title": "x"}] * 838, set=text)
    with pytest.raises(ValidationError, match="too much text"):
        batch("create", [{"title": "x"}] * 839, set=text)
