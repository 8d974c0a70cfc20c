"""Tasks, read: a list by keyset or by page numbers, one by its id, and how many there are of each."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import orjson
from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import and_, func, not_, or_, select

from api import terms
from api.access import answers
from api.documented import documented
from api.reads.lists import Condition, CreatedAfter, CreatedBefore, Listing, between, own
from api.reads.pages import NumberedQuery, QueryTime
from api.reads.single import resource
from api.schemas import Task as TaskShape
from api.schemas import TaskPage, TaskStats
from api.services import services
from models import Task, views
from models.task import Priority, Status, found_by

Sort = Literal["-created_at", "created_at", "-due_date", "due_date", "-priority", "priority"]
Search = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]
Of = Annotated[UUID | None, Field(description="only this user's; whoever is no admin sees none but their own")]


class TaskQuery(NumberedQuery):
    """What the list of tasks can be asked."""

    sort: Sort = Field(
        "-created_at", description="with `-`, downwards; tasks without a due date come last by `due_date` both ways"
    )
    status: Status | None = Field(None, description="only tasks that have this status")
    priority: Priority | None = Field(None, description="only tasks of this priority")
    user_id: Of = None
    search: Search | None = Field(
        None,
        description="only tasks in whose title or description each of these words begins a word, in any order and case",
    )
    created_after: CreatedAfter = None
    created_before: CreatedBefore = None
    due_after: QueryTime | None = Field(None, description="only tasks due at this time or later")
    due_before: QueryTime | None = Field(None, description="only tasks due before this time")
    overdue: bool | None = Field(None, description="only tasks that are past due and not completed, or all others")


class StatsQuery(BaseModel):
    """Whose tasks are counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: Of = None


OVERDUE = and_(Task.due_date < func.now(), Task.status != Status.COMPLETED)


def _overdue(so: bool) -> Condition:
    return OVERDUE if so else or_(Task.due_date.is_(None), not_(OVERDUE))


TASKS = Listing(
    Task,
    TaskQuery,
    views.task,
    owner=Task.owner_id,
    filters={
        "status": Task.status.__eq__,
        "priority": lambda priority: Task.priority == priority.rank,
        "user_id": Task.owner_id.__eq__,
        "search": found_by,
        "overdue": _overdue,
        **between("created", Task.created_at),
        **between("due", Task.due_date),
    },
    fleeting=frozenset({"overdue"}),
)
COUNTED = {
    "total": func.count(),
    "completed": func.count().filter(Task.status == Status.COMPLETED),
    "in_progress": func.count().filter(Task.status == Status.IN_PROGRESS),
    "pending": func.count().filter(Task.status == Status.PENDING),
    "high_priority": func.count().filter(Task.priority == Priority.HIGH.rank),
    "overdue": func.count().filter(OVERDUE),
}


def register(app: Flask) -> None:
    app.add_url_rule("/v1/tasks", "tasks.list", many, methods=["GET"])
    app.add_url_rule("/v1/tasks/stats", "tasks.stats", stats, methods=["GET"])
    app.add_url_rule("/v1/tasks/<id>", "tasks.get", one, methods=["GET"])


@answers(cached=True)
@documented(
    "List tasks",
    description="Your own, newest first; an admin sees everyone's. By `cursor`, which is stable while others come in; or by "
    "`page`, and then `meta` counts them all. Of two times, `…_after` is in the interval, `…_before` is not.",
    response=TaskPage,
    query=TaskQuery,
)
def many() -> Response:
    """One page of the caller's tasks."""
    return TASKS.answer()


@answers()
@documented(
    "Count tasks",
    description="Your own; for an admin everyone's, or those of `user_id`.",
    response=TaskStats,
    query=StatsQuery,
)
def stats() -> Response:
    """How many tasks there are for the caller, and how many of them of each sort; in one statement."""
    of = terms.query(StatsQuery).user_id
    counted = select(*(count.label(name) for name, count in COUNTED.items())).select_from(Task)
    counted = counted.where(*own(Task.owner_id), *([] if of is None else [Task.owner_id == of]))
    with services().readers() as session:
        row = session.execute(counted).one()
    return Response(orjson.dumps(row._asdict()), content_type="application/json")


@answers(cached=True)
@documented("Read a task", response=TaskShape, conditional=True)
def one(id: str) -> Response:
    """One task of the caller's, or any for an admin."""
    return resource(Task, id, views.task)
