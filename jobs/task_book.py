"""The task book: decides a set of commands about tasks in order of effective moment (CONTRACT.md §6).

Every task that a job of the set names is locked first, all in one statement and in order of their ids, so that two
workers never wait for each other in a circle. Only then is anything looked at. What is to become of a task is planned
before anything changes; so of many items, all can be known to be good before the first is carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from jobs import precondition
from jobs.kernel.context import Context
from jobs.kernel.effects import drops
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Conflict, Forbidden, NotFound, Rejected
from jobs.kernel.outcome import Outcome, rejected, succeeded
from models import task_store, user_store, views
from models.task import Priority, Status
from models.task_store import Entry

COMPLETED = {"status": Status.COMPLETED.value}
RANKS = {priority.value: priority.rank for priority in Priority}

Fields = Mapping[str, Any]
"""What a client says of a task, as it says it."""


class Step(NamedTuple):
    """What is to become of one task. `columns`: their new values, none for a task that is new, or stays as it is; None
    where the task goes away."""

    entry: Entry
    columns: dict[str, Any] | None


@dataclass(slots=True)
class TaskBook:
    """The tasks a set of jobs is about, and those users whom admins name in it. Commands say what to do with them.

    `touched`: the tasks that are not yet in the table as they are here.
    """

    ctx: Context
    jobs: Sequence[Job[Any]]
    tasks: dict[UUID, Entry] = field(default_factory=dict)
    touched: dict[UUID, Entry] = field(default_factory=dict)
    users: set[UUID] = field(default_factory=set)

    def decide(self) -> list[Outcome]:
        """One outcome per job, in the order of `jobs`; the changes are written, not committed."""
        self._lock()
        outcomes: list[tuple[int, Outcome]] = []
        for place, job in sorted(enumerate(self.jobs), key=lambda each: (each[1].moment, each[1].id.int)):
            try:
                outcomes.append((place, job.command.decide(self, job)))
            except Rejected as refusal:
                outcomes.append((place, rejected(refusal)))
        self.write()
        return [outcome for _, outcome in sorted(outcomes, key=itemgetter(0))]

    def addition(self, job: Job[Any], task_id: UUID, fields: Fields) -> Step:
        """A new task. Raises Forbidden, and Conflict (`unknown_user`)."""
        entry = Entry(
            id=task_id,
            owner_id=self._owner(job, fields.get("user_id")),
            title=fields["title"],
            description=fields.get("description"),
            status=fields["status"],
            priority=RANKS[fields["priority"]],
            due_date=fields.get("due_date"),
            overdue_at=None,
            created_at=job.moment,
            updated_at=job.moment,
            version=1,
            stored=False,
        )
        return Step(entry, {})

    def change(self, job: Job[Any], task_id: UUID | None, fields: Fields) -> Step:
        """Other values for some of the fields of a task.

        Raises NotFound, Forbidden, PreconditionFailed, and Conflict (`superseded`, `unknown_user`)."""
        entry = self._target(job, task_id)
        precondition.not_superseded(job, entry.updated_at)
        columns = dict(fields)
        if "user_id" in columns:
            columns["owner_id"] = self._owner(job, columns.pop("user_id"))
        if "priority" in columns:
            columns["priority"] = RANKS[columns["priority"]]
        if columns.get("due_date", entry.due_date) != entry.due_date:
            columns |= {"overdue_at": None, "watched": True}  # a new deadline can be missed anew
        elif columns.get("status", entry.status) != entry.status == Status.COMPLETED:
            columns["watched"] = entry.overdue_at is None  # whoever looked while it was completed has left it
        return Step(entry, columns | {"updated_at": max(job.moment, entry.updated_at), "version": entry.version + 1})

    def completion(self, job: Job[Any], task_id: UUID | None) -> Step:
        """A task is done; one that is done already stays as it is. Raises what `change` raises."""
        if (entry := self._target(job, task_id)).status == Status.COMPLETED:
            return Step(entry, {})
        return self.change(job, task_id, COMPLETED)

    def removal(self, job: Job[Any], task_id: UUID | None) -> Step:
        """A task goes away. Raises NotFound and PreconditionFailed."""
        return Step(self._target(job, task_id), None)

    def carry_out(self, step: Step, owners: set[UUID]) -> dict[str, Any] | None:
        """Do what was planned; the task as a GET then shows it, None where it is gone. Where anything changes, those whose it
        was and is are added to `owners`."""
        entry, columns = step
        if columns or columns is None or entry.id not in self.tasks:
            self.tasks[entry.id] = self.touched[entry.id] = entry
            owners.add(entry.owner_id)
        if columns is None:
            entry.deleted = True
            return None
        if columns:
            for name, value in columns.items():
                setattr(entry, name, value)
            entry.changed |= columns.keys()
            owners.add(entry.owner_id)
        return views.task(entry)

    def write(self) -> None:
        """Bring the table to what stands here."""
        task_store.write(self.ctx.session, self.touched.values())
        self.touched.clear()

    def done(self, job: Job[Any], result: Any, owners: set[UUID], progress: dict[str, int] | None = None) -> Outcome:
        """The outcome of a job that has changed tasks of these owners: what reads keep of the sender's is dropped by itself."""
        others = owners - {job.owner}
        return succeeded(result, effects=drops("tasks", others) if others else None, progress=progress)

    def _target(self, job: Job[Any], task_id: UUID | None) -> Entry:
        """Raises NotFound for a foreign one too; and PreconditionFailed."""
        entry = self.tasks.get(task_id) if task_id else None
        if entry is None or entry.deleted:
            raise NotFound
        if entry.owner_id != job.owner and not self.ctx.is_admin(job.owner):
            raise NotFound
        precondition.same_version(job, entry.version)
        return entry

    def _owner(self, job: Job[Any], named: UUID | None) -> UUID:
        """Whose a task is to be; the sender's by default."""
        if job.owner is None:
            raise NotFound
        if named is None or named == job.owner:
            return job.owner
        if not self.ctx.is_admin(job.owner):
            raise Forbidden
        if named not in self.users:
            raise Conflict("There is no such user.", code="unknown_user")
        return named

    def _lock(self) -> None:
        """Lock the tasks that the jobs name, and enter them; and look for the users that admins name."""
        session = self.ctx.session
        concerned = {task_id for job in self.jobs for task_id in (job.target, *job.command.concerns()) if task_id}
        self.tasks = {entry.id: entry for entry in task_store.lock(session, concerned)}
        admins = [job for job in self.jobs if self.ctx.is_admin(job.owner)]
        self.users = user_store.there(session, {user for job in admins for user in job.command.names()})
