"""Tasks that are overdue, in sets: found, marked, and noted down in the outbox."""

from __future__ import annotations

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
        UPDATE tasks SET
            watched = false,
            overdue_at = CASE WHEN status <> 'completed' THEN CAST(:now AS timestamptz) END,
            version = version + CAST(status <> 'completed' AS int)
        WHERE id = ANY(ARRAY(
            SELECT id FROM tasks
            WHERE watched AND due_date < :now
            ORDER BY due_date LIMIT :most FOR UPDATE SKIP LOCKED
        ))
        RETURNING *
        """
    )
)


def mark(session: Session, now: datetime, most: int) -> tuple[list[Task], bool]:
    """Look at tasks that were due before `now` and have not been looked at since they were, at most so many; mark those that
    are not completed, and note each of them down in the outbox, as it is then. Returns them, and whether there may be more
    to look at."""
    looked_at = session.scalars(MARK, {"now": now, "most": most}).all()
    marked = [task for task in looked_at if task.overdue_at]
    if marked:
        add(session, "outbox", COLUMNS, [_note(task, now) for task in marked])
    return marked, len(looked_at) == most


def _note(task: Task, now: datetime) -> tuple[str | None, ...]:
    payload = orjson.dumps(views.task(task)).decode()
    return KIND, ident(task.owner_id), ident(task.id), payload, instant(now)
