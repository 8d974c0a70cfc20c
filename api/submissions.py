"""Submissions: what is handed to the queue of a write that was found good, by whoever sent it and however."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from uuid import UUID

from api import passwords
from api.flight import aside
from api.headers import request_id
from api.services import services
from api.terms import Terms
from api.threads import beside_greenlets
from api.tokens import Caller
from jobs.kernel.command import Command, Route
from jobs.kernel.envelope import body_of
from jobs.kernel.errors import Invalid
from jobs.kernel.outcome import State
from jobs.kernel.record import JobRecord
from jobs.kernel.secret import given_passwords, sealed
from jobs.kernel.submit import Accepted, Submission, fingerprint, keyed_id, new_id, salt_of, secret_id


class Submissions:
    """Makes submissions of what one request asks for."""

    def __init__(self, who: Caller | None) -> None:
        """who: sends it."""
        self._who = who
        self._user = who.id if who else None
        self._own = services()
        self._request_id = request_id()

    def of(self, value: Command, route: Route, target: UUID | None, asked: Terms) -> Submission:
        """The submission of a command on these terms; its passwords are hashed. Raises Overloaded."""
        who, user, sender = self._who, self._user, self._user or _sender(value)
        if asked.key is None or sender is None:
            job_id, mark, body, value = new_id() if user else secret_id(), None, None, _sealed(value, lambda: None)
        else:
            named_so = self._own.settings.secret_key, sender, asked.key
            job_id, value = keyed_id(*named_so), _sealed(value, partial(salt_of, *named_so))
            place = f"{route.method} {route.path.replace('{id}', str(target))}"
            body = body_of(value)
            mark = fingerprint(place, body, asked.run_at, asked.if_match)
        return Submission(
            id=job_id,
            command=value,
            owner=user,
            target=target,
            if_match=asked.if_match,
            run_at=asked.run_at,
            fingerprint=mark,
            request_id=self._request_id,
            notify=self._own.waiting.channel if asked.wait else None,
            session_version=who.session_version if who and value.policy.in_session else None,
            caps=self._own.limits.of_job(value, who),
            priority=asked.priority,
            body=body,
        )


def reused(submission: Submission, earlier: JobRecord) -> Invalid | None:
    """The refusal of a key that an earlier request, of which there is a receipt, was sent with; None where it was the same."""
    if earlier.fingerprint == submission.fingerprint:
        return None
    return Invalid("This Idempotency-Key was used for another request.", code="idempotency_key_reused")


def fresh(submission: Submission, taken: Accepted) -> JobRecord:
    """What is known of a job that was submitted just now, without asking Redis again."""
    command = submission.command
    return JobRecord(
        id=submission.id,
        kind=command.kind,
        owner=submission.owner,
        state=taken.state,
        submitted_at=taken.submitted_at,
        run_at=submission.run_at if taken.state is State.SCHEDULED else None,
        resource=command.resource_of(submission.id, submission.target),
    )


def _sender(value: Command) -> UUID | None:
    """Whose the idempotency keys are of somebody without a token, as can be told by what they send."""
    named_so = value.sender()
    return UUID(bytes=sha256(named_so.encode()).digest()[:16]) if named_so is not None else None


def _sealed(value: Command, salt_of_key: Callable[[], bytes | None]) -> Command:
    """The command with passwords hashed. The same key salts alike, so that what is asked again is the same command."""
    if not given_passwords(value):
        return value
    salt = salt_of_key()
    with aside():
        return sealed(value, lambda password: beside_greenlets(lambda: passwords.hashed(password, salt), "writes"))
