"""Tasks that are overdue, in sets: found, marked, and noted down in the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from models import views
from models.sets import add
from models.task import Task
from models.views import ident, instant

KIND = "task.overdue"
"""What the outbox says happened."""

COLUMNS = ("kind", "owner_id", "subject_id", "payload", "created_at")

# What somebody else has locked is left to them, or to the next look: so nobody waits, and no task is marked twice.
MARK = select(Task).from_statement(
    text(
        """
        UPDATE tasks SET overdue_at = :now, version = version + 1
        WHERE id = ANY(ARRAY(
            SELECT id FROM tasks
            WHERE status <> 'completed' AND overdue_at IS NULL AND due_date < :now
            ORDER BY due_date LIMIT :most FOR UPDATE SKIP LOCKED
        ))
        RETURNING *
        """
    )
)


def mark(session: Session, now: datetime, most: int) -> Sequence[Task]:
    """Mark tasks that were due before `now`, are not completed and not marked, at most so many; and note each of them down in
    the outbox, as it is then. Returns them."""
    marked = session.scalars(MARK, {"now": now, "most": most}).all()
    if marked:
        add(session, "outbox", COLUMNS, [_note(task, now) for task in marked])
    return marked


def _note(task: Task, now: datetime) -> tuple[str | None, ...]:
    payload = orjson.dumps(views.task(task)).decode()
    return KIND, ident(task.owner_id), ident(task.id), payload, instant(now)
