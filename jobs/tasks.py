"""Tasks: created, amended, deleted; and what a client may say of one (CONTRACT.md §6)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.outcome import Outcome
from jobs.kernel.policy import Policy, Retry
from jobs.kernel.private import PRIVATE
from jobs.kernel.times import Time
from jobs.task_book import Step, TaskBook
from models import Task
from models.views import spelled_id

TASKS = Policy(queue="tasks", retry=Retry(attempts=5, base=0.5, cap=60), timeout=30)

PRINTABLE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
INK = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\s]"


def _id(value: object) -> UUID:
    found = spelled_id(value) if isinstance(value, str) else value
    if not isinstance(found, UUID):
        raise ValueError("should be a UUID")
    return found


Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=f"^{PRINTABLE}*{INK}{PRINTABLE}*$"),
    Field(description="not blank, and without control characters", examples=["Call the customer back"]),
    PRIVATE,
]
Description = Annotated[
    Annotated[str, StringConstraints(max_length=10_000)] | None, Field(description="null for none"), PRIVATE
]
TaskStatus = Literal["pending", "in_progress", "completed"]
TaskPriority = Literal["low", "medium", "high"]
DueDate = Annotated[Time | None, Field(description="may lie in the past; null for none")]
UserId = Annotated[
    UUID,
    BeforeValidator(_id),
    WithJsonSchema({"type": "string", "format": "uuid"}),
    Field(description="whose it is, which admins may choose; by default the caller's"),
]


class TaskCommand(Command, policy=TASKS):
    """What changes tasks: decided together, because any of them may be about the same ones."""

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        return TaskBook(ctx, jobs).decide()

    def concerns(self) -> Collection[UUID | None]:
        """The tasks that it is about, beside its target."""
        return ()

    def names(self) -> Collection[UUID]:
        """The users that it names."""
        return ()

    def decide(self, book: TaskBook, job: Job[Any]) -> Outcome:
        """Carry it out in the book. Raises Rejected."""
        owners: set[UUID] = set()
        shown = book.carry_out(self.step(book, job), owners)
        return book.done(job, shown, owners)

    def step(self, book: TaskBook, job: Job[Any]) -> Step:
        """What it does, of what does one thing. Raises Rejected."""
        raise NotImplementedError


class GivingCommand(TaskCommand):
    """What can say whose a task is: admins may name anybody, all others only themselves."""

    def admits(self, role: str | None, sender: UUID | None) -> bool:
        return super().admits(role, sender) and (role == "admin" or {sender}.issuperset(self.names()))


class CreateTask(GivingCommand, kind="tasks.create", route="POST /v1/tasks", creates=True):
    """Create a task.

    Rejected as `unknown_user` when it is to be somebody's who is not there.
    """

    title: Title
    description: Description = None
    status: TaskStatus = "pending"
    priority: TaskPriority = "medium"
    due_date: DueDate = None
    user_id: UserId | None = None

    def names(self) -> Collection[UUID]:
        return () if self.user_id is None else (self.user_id,)

    def step(self, book: TaskBook, job: Job[Any]) -> Step:
        return book.addition(job, job.id, vars(self))


def _forget_defaults(schema: dict[str, Any]) -> None:
    for member in schema["properties"].values():
        member.pop("default", None)


class TaskChanges(GivingCommand):
    """Some fields of a task; the others stay as they are, or take their defaults."""

    model_config = ConfigDict(json_schema_extra=_forget_defaults)

    title: Title = ""
    description: Description = None
    status: TaskStatus = "pending"
    priority: TaskPriority = "medium"
    due_date: DueDate = None
    user_id: UserId = UUID(int=0)

    def given(self) -> dict[str, Any]:
        """The fields that are named."""
        return {name: vars(self)[name] for name in self.model_fields_set}

    def names(self) -> Collection[UUID]:
        return (self.user_id,) if "user_id" in self.model_fields_set else ()


class AmendTask(TaskChanges, kind="tasks.amend", route="PATCH /v1/tasks/{id}", target=Task):
    """Amend a task: what is left out stays as it is.

    A new `due_date` can be missed anew.
    """

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self

    def step(self, book: TaskBook, job: Job[Any]) -> Step:
        return book.change(job, job.target, self.given())


class DeleteTask(TaskCommand, kind="tasks.delete", route="DELETE /v1/tasks/{id}", target=Task):
    """Delete a task."""

    def step(self, book: TaskBook, job: Job[Any]) -> Step:
        return book.removal(job, job.target)
