"""Batches of tasks: thousands created, updated, completed or deleted by one job, each with a result of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any, Literal
from uuid import UUID

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from jobs.kernel.envelope import Job
from jobs.kernel.errors import Conflict, Invalid, Rejected
from jobs.kernel.field_errors import MOST_ERRORS, FieldErrors, field_errors, name_of
from jobs.kernel.outcome import Outcome, rejected
from jobs.task_book import Step, TaskBook
from jobs.task_items import Item, TaskItem
from jobs.tasks import AmendTask, CreateTask, TaskChanges, TaskCommand
from models.views import ident, spelled_id

CHUNK, CHUNK_TEXT = 1_000, 500_000
"""Items that are written in one go, and letters of their descriptions; after each chunk, progress is told."""

MOST_TEXT = 8 * 1024 * 1024
"""Letters of descriptions that one batch writes to its tasks by `set`, and that its result tells."""

OWN_BITS = (1 << 62) - 1
"""The bits of a UUID behind its version and variant (RFC 9562 §4)."""

Problem = dict[str, Any]
Plan = tuple[str | None, Step | Problem]
"""The id of a task, and what is to become of it, or why nothing is."""


class BatchTasks(TaskCommand, kind="tasks.batch", route="POST /v1/tasks/batch", most_bytes=8 * 1024 * 1024):
    """Create, update, complete or delete many tasks.

    To `create`, an item is what `POST /v1/tasks` takes; to `update`, an object with the `id` of a task and its new fields, or
    the id alone; to `complete` and to `delete`, the id. `set` holds fields for all of them; an item's own go first.

    The job's result is `{"items": [{"task_id", "success", "result" | "error"}]}`, in the order of the request: one bad item
    spoils no other. With `atomic`, where any is bad, nothing is done, and the job is rejected as `batch_rejected`.
    Beyond 8 MiB of text, tasks are told without their `description`.
    """

    action: Literal["create", "update", "complete", "delete"]
    tasks: list[TaskItem] = Field(min_length=1, max_length=10_000)
    set: TaskChanges | None = Field(None, description="fields for all items, to `create` and to `update`")
    atomic: bool = Field(False, description="all or nothing")

    @field_validator("tasks")
    @classmethod
    def _names_each_once(cls, items: list[Item], info: ValidationInfo) -> list[Item]:
        places: dict[UUID, int] = {}
        for place, item in enumerate(items):
            if item.id and places.setdefault(item.id, place) != place and info.data.get("action") != "create":
                raise ValueError(f"items {places[item.id]} and {place} name the same task")
        return items

    @field_validator("set")
    @classmethod
    def _is_of_use(cls, given: TaskChanges | None, info: ValidationInfo) -> TaskChanges | None:
        if given is not None and info.data.get("action") in ("complete", "delete"):
            raise ValueError(f"to {info.data['action']} takes no fields")
        if given is not None and len(given.description or "") * len(info.data.get("tasks", ())) > MOST_TEXT:
            raise ValueError("would be too much text for so many items")
        return given

    def admits(self, role: str | None, sender: UUID | None) -> bool:
        return super().admits(role, sender) and (self.set is None or self.set.admits(role, sender))

    def concerns(self) -> Collection[UUID | None]:
        return [item.id for item in self.tasks] if self.action != "create" else ()

    def names(self) -> Collection[UUID]:
        given = {item.given.get("user_id") for item in self.tasks if isinstance(item.given, dict)}
        named = [spelled_id(user) for user in given if isinstance(user, str)]
        return [user for user in (*named, *(self.set.names() if self.set else ())) if user]

    def decide(self, book: TaskBook, job: Job[Any]) -> Outcome:
        """First every item is planned, then all are carried out, by chunks."""
        job, total = job._replace(if_match=None), len(self.tasks)  # a tag is of one resource
        book.ctx.report(job.id, 0, total)
        plans = self._plans(book, job)
        if self.atomic and (wrong := _what_is_wrong(plans)):
            refusal = Conflict("Some items cannot be carried out, so none was.", code="batch_rejected", errors=wrong)
            return rejected(refusal)._replace(progress={"done": 0, "total": total})
        items: list[dict[str, Any]] = []
        owners: set[UUID] = set()
        told = written = 0
        for task_id, plan in plans:
            if isinstance(plan, Step):
                shown, text = book.carry_out(plan, owners), len(plan.entry.description or "")
                if shown and (told := told + text) > MOST_TEXT:
                    del shown["description"]
                items.append({"task_id": task_id, "success": True, "result": shown})
                written += text
            else:
                items.append({"task_id": task_id, "success": False, "error": plan})
            if len(items) % CHUNK == 0 or len(items) == total or written > CHUNK_TEXT:
                book.write()
                book.ctx.report(job.id, len(items), total)
                written = 0
        return book.done(job, {"items": items}, owners, {"done": total, "total": total})

    def _plans(self, book: TaskBook, job: Job[Any]) -> list[Plan]:
        step = self._planner(book, job)
        plans: list[Plan] = []
        for place, item in enumerate(self.tasks):
            try:
                planned = step(place, item)
                plans.append((ident(planned.entry.id), planned))
            except Rejected as refusal:
                plans.append((item.task_id, refusal.problem()))
            except ValidationError as refused:
                plans.append((item.task_id, Invalid(errors=field_errors(refused)).problem()))
        return plans

    def _planner(self, book: TaskBook, job: Job[Any]) -> Callable[[int, Item], Step]:
        """What plans the item at a place. It raises Rejected, or ValidationError."""
        shared = self.set.given() if self.set else {}
        changes_of = cache(lambda: AmendTask.model_validate(shared).given())  # of all that say nothing of their own

        def create(place: int, item: Item) -> Step:
            new = CreateTask.model_validate(shared | item.of_new())
            return book.addition(job, nth_id(job.id, place), vars(new))

        def update(_: int, item: Item) -> Step:
            own = item.of_known()
            return book.change(job, item.id, AmendTask.model_validate(shared | own).given() if own else changes_of())

        def complete(_: int, item: Item) -> Step:
            _only_named(item)
            return book.completion(job, item.id)

        def delete(_: int, item: Item) -> Step:
            _only_named(item)
            return book.removal(job, item.id)

        return {"create": create, "update": update, "complete": complete, "delete": delete}[self.action]


def nth_id(job_id: UUID, place: int) -> UUID:
    """The id of what the item at a place creates: the same in every execution, and next to the job's, so that what is
    created together stands together in indexes."""
    return UUID(int=(job_id.int & ~OWN_BITS) | ((job_id.int + 1 + place) & OWN_BITS))


def _only_named(item: Item) -> None:
    if more := item.of_known():
        raise Invalid(errors=[{"field": name_of([name]), "message": "Is not taken here"} for name in more])


def _what_is_wrong(plans: list[Plan]) -> FieldErrors:
    """The first of the items that are bad, by their places; `tasks.3`, or `tasks.3.title` where it is a field's fault."""
    found: FieldErrors = []
    for place, (_, plan) in enumerate(plans):
        if isinstance(plan, Step):
            continue
        for error in plan.get("errors") or [{"field": "", "message": plan["detail"]}]:
            path = ("tasks", place, error["field"]) if error["field"] else ("tasks", place)
            found.append({"field": name_of(path), "message": error["message"]})
        if len(found) >= MOST_ERRORS:
            break
    return found[:MOST_ERRORS]
