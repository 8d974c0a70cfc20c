"""The user book: decides a set of commands about users in order of effective moment.

Who may claim emails is settled by one lock for all of them; then the users whom the jobs are about, who sent them, and
who have the emails that are claimed are locked in order of their ids, in a statement of their own, so that two workers
never wait for each other in a circle. Only then is anything looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any
from uuid import UUID

from jobs import precondition
from jobs.kernel.context import Context
from jobs.kernel.effects import Effects, drops_of, scope, sessions_end
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Conflict, Forbidden, NotFound, Rejected
from jobs.kernel.outcome import Outcome, rejected, succeeded
from models import user_store, views
from models.user_store import Entry


@dataclass(slots=True)
class UserBook:
    """The users a set of jobs is about, who sent them, and who has which email. Commands say what to do with them."""

    ctx: Context
    jobs: Sequence[Job[Any]]
    users: dict[UUID, Entry] = field(default_factory=dict)
    holders: dict[str, Entry] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)

    def decide(self) -> list[Outcome]:
        """One outcome per job, in the order of `jobs`; the changes are written, not committed."""
        self._lock()
        outcomes: list[tuple[int, Outcome]] = []
        for place, job in sorted(enumerate(self.jobs), key=lambda each: (each[1].moment, each[1].id.int)):
            try:
                self._admit(job)
                outcomes.append((place, job.command.decide(self, job)))
            except Rejected as refusal:
                outcomes.append((place, rejected(refusal)))
        user_store.write(self.ctx.session, self.users.values())
        return [outcome for _, outcome in sorted(outcomes, key=itemgetter(0))]

    def add(self, job: Job[Any], values: dict[str, Any]) -> Outcome:
        """A new user, with email, name, password_hash and role. Raises Conflict (`email_taken`)."""
        entry = Entry(
            **values,
            id=job.id,
            session_version=1,
            version=1,
            created_at=job.moment,
            updated_at=job.moment,
            disabled_at=None,
            deleted_at=None,
            folded=self._free(values["email"], None),
            stored=False,
        )
        self._keep(entry)
        return succeeded(views.user(entry))

    def amend(self, job: Job[Any], values: dict[str, Any]) -> Outcome:
        """Change email, name, password_hash, role or `disabled` of the target. What they could sign in with, or be allowed
        by, being another then ends their sessions.

        Raises NotFound, Forbidden, PreconditionFailed, and Conflict (`superseded`, `email_taken`)."""
        entry = self._target(job)
        precondition.not_superseded(job, entry.updated_at)
        folded = self._free(values["email"], entry) if "email" in values else entry.folded
        was_disabled = entry.disabled_at
        disabled = values.pop("disabled", was_disabled is not None)
        ends = "password_hash" in values or values.get("role", entry.role) != entry.role
        self._forget(entry)
        for name, value in values.items():
            setattr(entry, name, value)
        entry.folded = folded
        entry.disabled_at = (was_disabled or job.moment) if disabled else None
        entry.updated_at = max(job.moment, entry.updated_at)
        entry.version += 1
        entry.changed = True
        self._keep(entry)
        ended = _end_sessions(entry) if ends or (disabled and not was_disabled) else None
        return succeeded(views.user(entry), effects=drops_of([scope("users", entry.id)], ended))

    def remove(self, job: Job[Any]) -> Outcome:
        """Mark the target as deleted, which frees its email. Raises NotFound, Forbidden, PreconditionFailed."""
        entry = self._target(job)
        self._forget(entry)
        entry.deleted_at = job.moment
        entry.changed = True
        return succeeded(effects=drops_of([scope("users", entry.id)], _end_sessions(entry)))

    def rehash(self, user: UUID, session_version: int, password_hash: str) -> Outcome:
        """Another hash of the password that a user had at that `session_version`, unless it is another by now."""
        entry = self.users.get(user)
        if entry is not None and not entry.deleted_at and entry.session_version == session_version:
            entry.password_hash = password_hash
            entry.changed = True
        return succeeded()

    def _admit(self, job: Job[Any]) -> None:
        """Ask again who sent it, now that they cannot change: another job, of this set too, may have come before."""
        if job.owner is None:
            return
        sender = self.users.get(job.owner)
        if sender is None or sender.deleted_at or sender.disabled_at or not job.command.admits(sender.role, sender.id):
            raise Forbidden
        if job.session_version not in (None, sender.session_version):
            raise Forbidden

    def _target(self, job: Job[Any]) -> Entry:
        """Raises Forbidden for somebody else: only somebody who was an admin then can have named them."""
        entry = self.users.get(job.target) if job.target else None
        if entry is None or entry.deleted_at:
            raise NotFound
        if entry.id != job.owner and not (job.owner and self.users[job.owner].role == "admin"):
            raise Forbidden
        precondition.same_version(job, entry.version)
        return entry

    def _free(self, email: str, user: Entry | None) -> str:
        """The email as it is compared; nobody but this user has it. Raises Conflict (`email_taken`)."""
        folded = self.folded[email]
        if self.holders.get(folded) not in (None, user):
            raise Conflict("Another user has this email.", code="email_taken")
        return folded

    def _keep(self, entry: Entry) -> None:
        self.users[entry.id] = entry
        if entry.holds is not None:
            self.holders[entry.holds] = entry

    def _forget(self, entry: Entry) -> None:
        self.holders.pop(entry.folded, None)

    def _lock(self) -> None:
        """Lock emails, where any is claimed, and everybody concerned; and enter them."""
        session, commands = self.ctx.session, [job.command for job in self.jobs]
        concerned = {user for job in self.jobs for user in (job.owner, job.target, job.command.concerns()) if user}
        if claimed := {email for command in commands if (email := command.claims())}:
            self.folded, holders = user_store.claim(session, claimed)
            concerned |= holders
        for entry in user_store.lock(session, concerned):
            self._keep(entry)


def _end_sessions(entry: Entry) -> Effects:
    """Every session and token of theirs ends."""
    entry.session_version += 1
    return sessions_end(entry.id, entry.session_version)
