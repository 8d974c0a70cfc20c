"""The guard: authorize again, as things are when a job runs, for who sent it may have lost the right to it since."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from jobs.kernel.errors import Forbidden
from jobs.kernel.outcome import Done, State, rejected
from models.sets import fetch
from models.views import ident
from workers.work import Work

SENDERS = """
    SELECT id, role, session_version FROM users
    WHERE id = ANY(CAST(%(ids)s AS uuid[])) AND disabled_at IS NULL AND deleted_at IS NULL
    """


def authorize(session: Session, works: Sequence[Work]) -> dict[UUID, str]:
    """Reject those whose senders may not send them, and cancel those that somebody has asked to cancel; returns the roles of
    all senders that there still are.

    One that was conducted has been let in before it began, and is only to be concluded.
    """
    senders = {work.delivery.owner for work in works if work.delivery.owner}
    found = fetch(session, SENDERS, ids=[ident(sender) for sender in senders]) if senders else []
    present = {sender: (role, version) for sender, role, version in found}
    for work in works:
        owner, command = work.delivery.owner, work.command
        role, version = present.get(owner, (None, None)) if owner else (None, None)
        gone = owner is not None and role is None
        undecided = work.outcome is None and work.conclusion is None
        if undecided and work.delivery.cancel:
            work.outcome = Done(State.CANCELED)
        elif undecided and command and (gone or not command.admits(role, owner) or work.outlived(version)):
            work.outcome = rejected(Forbidden())
    return {sender: role for sender, (role, _) in present.items()}
