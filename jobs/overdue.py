"""Tasks that are overdue: each is marked, and whoever is to be told of it noted down, once (CONTRACT.md §6)."""

from __future__ import annotations

from time import monotonic
from typing import Self

import structlog

from jobs.kernel.command import Command
from jobs.kernel.envelope import Job
from jobs.kernel.outcome import succeeded
from jobs.kernel.policy import Access, Policy, Retry
from jobs.kernel.ports import Conclusion, Outside
from models import overdue_store
from models.views import ident

log = structlog.get_logger(__name__)

MARKED = Policy(queue="deliveries", access=Access.OPERATOR, retry=Retry(attempts=1), timeout=60)

TOGETHER = 500
"""Tasks marked in one transaction: few enough that whoever changes one of them hardly waits."""

MARKED_WITHIN = 20.0
"""Seconds after which one look begins no more, and leaves the rest to the next."""


class MarkOverdue(Command, kind="tasks.mark_overdue", policy=MARKED, every="overdue_every_seconds"):
    """Mark the tasks that are overdue, and note each down to be told.

    In transactions of their own, so that what is logged of a task has been committed.
    """

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        began, marked = monotonic(), 0
        while True:
            outside.insist()
            with outside.transaction() as ctx:
                tasks, more = overdue_store.mark(ctx.session, ctx.now, TOGETHER)
                for owner in {task.owner_id for task in tasks}:
                    ctx.drop("tasks", owner)
            for task in tasks:
                log.info("task_overdue", task_id=ident(task.id), user_id=ident(task.owner_id))
            marked += len(tasks)
            if not more or monotonic() - began > MARKED_WITHIN:
                return lambda ctx: succeeded({"marked": marked})
