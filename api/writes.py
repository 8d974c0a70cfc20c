"""Writes: one view for every command. It validates, authorizes and submits; a worker does the work (CONTRACT.md §2)."""

from __future__ import annotations

from contextlib import nullcontext
from hashlib import sha256
from uuid import UUID

from flask import Flask, Response, g
from sqlalchemy import Select, bindparam, select
from structlog.contextvars import bind_contextvars
from werkzeug.exceptions import HTTPException

from api import body, passwords, terms
from api.access import View, count_in_session, guard, id_of, known_caller
from api.flight import aside
from api.headers import request_id
from api.jobs import REPLAYED, accepted
from api.services import services
from api.sessions import named
from api.terms import Terms
from api.threads import beside_greenlets
from api.tokens import Caller
from jobs.kernel import registry
from jobs.kernel.command import Command, Route
from jobs.kernel.errors import Forbidden, Invalid, NotFound, RateLimited, Rejected
from jobs.kernel.field_errors import FieldErrors
from jobs.kernel.outcome import State
from jobs.kernel.policy import Access
from jobs.kernel.record import JobRecord
from jobs.kernel.secret import given_passwords, sealed
from jobs.kernel.submit import Accepted, Submission, fingerprint, keyed_id, new_id, salt_of, secret_id
from models.session import DATABASE_ERRORS
from models.views import ident


def register(app: Flask) -> None:
    """A route for every declared command that has one."""
    for command in registry.every():
        if command.route is not None:
            rule = command.route.path.replace("{id}", "<id>")
            app.add_url_rule(rule, command.kind, _view(command, command.route), methods=[command.route.method])


def _view(command: type[Command], route: Route) -> View:
    owner_of = _lookup(command)
    signed = command.policy.access is not Access.ANYONE
    per_request = [limit for limit in command.policy.limits if not limit.per_job]

    @guard(command.policy.access)
    def write(id: str | None = None) -> Response:
        who = known_caller() if signed else None
        counted = False
        try:
            target = id_of(id) if id is not None else None
            asked, value = _validated(command)
            if not value.admits(who.role if who else None, who.id if who else None):
                raise Forbidden
            if (counted := bool(given_passwords(value))) and who:  # to hash one costs more than all the rest
                services().limits.count_caller(who)
            for limit in per_request:
                services().limits.count(limit, value, who)
            there = owner_of is None or _has(target, owner_of, who)
            if not there and asked.key is None:
                raise NotFound
            submission = _submission(who, value, route, target, asked)
            earlier = _earlier(submission, there, looked_for=owner_of is not None)
        except (Rejected, HTTPException):
            if who and not counted:
                count_in_session(who)
            raise
        if earlier is None:
            return _submit(submission, asked, who, counted)
        if who and not counted:
            count_in_session(who)
        return _replay(earlier, asked)

    return write


def _validated(command: type[Command]) -> tuple[Terms, Command]:
    """Everything the request says, or all that is wrong with it at once; or what is wrong with it as things are set."""
    raw = body.read(command)
    value, wrong = _parsed(command, raw)
    asked, also_wrong = terms.of_request()
    if value is None or wrong or also_wrong:
        raise Invalid(errors=wrong + also_wrong)
    value.check(services().settings)
    return asked, value


def _parsed(command: type[Command], raw: bytes) -> tuple[Command | None, FieldErrors]:
    """The command in a body, or what is wrong with it. A large one takes long enough to be read beside other requests."""
    if len(raw) <= body.MAX_BYTES:
        return body.parse(command, raw)
    with aside():
        return beside_greenlets(lambda: body.parse(command, raw), "writes")


def _submission(who: Caller | None, value: Command, route: Route, target: UUID | None, asked: Terms) -> Submission:
    user, sender, secret = who.id if who else None, _sender(who, value), services().settings.secret_key
    if asked.key is None or sender is None:
        job_id, mark, value = new_id() if user else secret_id(), None, _sealed(value)
    else:
        job_id, value = keyed_id(secret, sender, asked.key), _sealed(value, salt_of(secret, sender, asked.key))
        place = f"{route.method} {route.path.replace('{id}', str(target))}"
        mark = fingerprint(place, value.model_dump(mode="json", exclude_unset=True), asked.run_at, asked.if_match)
    return Submission(
        id=job_id,
        command=value,
        owner=user,
        target=target,
        if_match=asked.if_match,
        run_at=asked.run_at,
        fingerprint=mark,
        request_id=request_id(),
        notify=services().waiting.channel if asked.wait else None,
        session_version=who.session_version if who and value.policy.in_session else None,
        caps=services().limits.of_job(value, who),
        priority=asked.priority,
    )


def _sender(who: Caller | None, value: Command) -> UUID | None:
    """Whose an idempotency key is: the caller's, or of whoever can be told by what they send."""
    if who is not None:
        return who.id
    named_so = value.sender()
    return UUID(bytes=sha256(named_so.encode()).digest()[:16]) if named_so is not None else None


def _sealed(value: Command, salt: bytes | None = None) -> Command:
    """The command with passwords hashed. The same key salts alike, so that what is asked again is the same command."""
    if not given_passwords(value):
        return value
    with aside():
        return sealed(value, lambda password: beside_greenlets(lambda: passwords.hashed(password, salt), "writes"))


def _earlier(submission: Submission, there: bool, *, looked_for: bool) -> JobRecord | None:
    """The job that an earlier request with this key has left a receipt of. Raises NotFound for a target that is not
    there for the caller, and DatabaseDown where a target was to be looked for.

    A target is looked for first: where it is gone by the very job that is asked for again, its receipt is there."""
    earlier = None
    if submission.fingerprint is not None:
        try:
            with aside():  # a PostgreSQL that hangs does not keep creates from being accepted
                earlier = services().ledger.receipt(submission.id)
        except DATABASE_ERRORS:
            if looked_for:
                raise
            # a create goes on without the look: the worker finds the receipt, and nothing takes effect twice
    if earlier is not None and earlier.fingerprint != submission.fingerprint:
        raise Invalid("This Idempotency-Key was used for another request.", code="idempotency_key_reused")
    if earlier is None and not there:
        raise NotFound
    return earlier


def _lookup(command: type[Command]) -> Select[UUID] | None:
    if command.target is None:
        return None
    there = select(command.target.owner_id).where(command.target.id == bindparam("id"))
    return there.where(command.target.deleted_at.is_(None)) if hasattr(command.target, "deleted_at") else there


def _has(target: UUID | None, owner_of: Select[UUID], who: Caller | None) -> bool:
    with aside(), services().readers() as session:
        owner = session.execute(owner_of, {"id": target}).scalar_one_or_none()
    return owner is not None and who is not None and who.sees(owner)


def _submit(submission: Submission, asked: Terms, who: Caller | None, counted: bool) -> Response:
    """Queue it, wait if that was asked for, and answer."""
    own = services()
    bind_contextvars(job_id=ident(submission.id))
    limit = own.limits.of_write(who.id) if who and not counted else None
    session = named(who.id, who.session) if who else None
    with own.waiting.expecting(submission.id) if asked.wait else nullcontext() as event:
        try:
            taken = own.submitter.submit(submission, limit, session)
        except RateLimited:
            g.pop("limit_state", None)  # it would hide, in the headers of the answer, the limit that refuses
            raise
        g.limit_state = taken.limit or g.get("limit_state")
        if not taken.fresh:
            with aside():
                job = own.ledger.find(submission.id)
            return _replay(job or _fresh(submission, taken), asked)
        job = _fresh(submission, taken)
        if event is not None:
            job = own.waiting.until_final(submission.id, event, asked.wait) or job
    return accepted(job, waited=asked.wait)


def _replay(job: JobRecord, asked: Terms) -> Response:
    """The job as it now is, to somebody who asks for it again."""
    bind_contextvars(job_id=ident(job.id))
    if asked.wait and not job.state.final:
        job = services().waiting.watch(job.id, asked.wait) or job
    return accepted(job, waited=asked.wait, headers=REPLAYED)


def _fresh(submission: Submission, taken: Accepted) -> JobRecord:
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
