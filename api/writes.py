"""Writes: one view for every command. It validates, authorizes and submits; a worker does the work (CONTRACT.md §2)."""

from __future__ import annotations

from contextlib import nullcontext

from flask import Flask, Response, g
from structlog.contextvars import bind_contextvars
from werkzeug.exceptions import HTTPException

from api import body, targets, terms
from api.access import View, count_in_session, guard, id_of, known_caller
from api.flight import aside
from api.jobs import REPLAYED, accepted
from api.services import services
from api.sessions import named
from api.submissions import Submissions, fresh, reused
from api.terms import Terms
from api.threads import beside_greenlets
from api.tokens import Caller
from jobs.kernel import registry
from jobs.kernel.command import Command, Route
from jobs.kernel.errors import Forbidden, Invalid, NotFound, RateLimited, Rejected
from jobs.kernel.field_errors import FieldErrors
from jobs.kernel.policy import Access
from jobs.kernel.record import JobRecord
from jobs.kernel.secret import given_passwords
from jobs.kernel.submit import Submission
from models.session import DATABASE_ERRORS
from models.views import ident


def register(app: Flask) -> None:
    """A route for every declared command that has one."""
    for command in registry.every():
        if command.route is not None:
            rule = command.route.path.replace("{id}", "<id>")
            app.add_url_rule(rule, command.kind, _view(command, command.route), methods=[command.route.method])


def _view(command: type[Command], route: Route) -> View:
    owner_of = targets.owner_of(command.target)
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
            there = owner_of is None or targets.has(target, owner_of, who)
            if not there and asked.key is None:
                raise NotFound
            sent = Submissions(who).of(value, route, target, asked)
            earlier = _earlier(sent, there, looked_for=owner_of is not None)
        except (Rejected, HTTPException):
            if who and not counted:
                count_in_session(who)
            raise
        if earlier is None:
            return _submit(sent, asked, who, counted)
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


def _earlier(sent: Submission, there: bool, *, looked_for: bool) -> JobRecord | None:
    """The job that an earlier request with this key has left a receipt of. Raises NotFound for a target that is not
    there for the caller, and DatabaseDown where a target was to be looked for.

    A target is looked for first: where it is gone by the very job that is asked for again, its receipt is there."""
    earlier = None
    if sent.fingerprint is not None:
        try:
            with aside():  # a PostgreSQL that hangs does not keep creates from being accepted
                earlier = services().ledger.receipt(sent.id)
        except DATABASE_ERRORS:
            if looked_for:
                raise
            # a create goes on without the look: the worker finds the receipt, and nothing takes effect twice
    if earlier is not None and (refusal := reused(sent, earlier)):
        raise refusal
    if earlier is None and not there:
        raise NotFound
    return earlier


def _submit(sent: Submission, asked: Terms, who: Caller | None, counted: bool) -> Response:
    """Queue it, wait if that was asked for, and answer."""
    own = services()
    bind_contextvars(job_id=ident(sent.id))
    limit = own.limits.of_write(who.id) if who and not counted else None
    session = named(who.id, who.session) if who else None
    with own.waiting.expecting(sent.id) if asked.wait else nullcontext() as event:
        try:
            taken = own.submitter.submit(sent, limit, session)
        except RateLimited:
            g.pop("limit_state", None)  # it would hide, in the headers of the answer, the limit that refuses
            raise
        g.limit_state = taken.limit or g.get("limit_state")
        if not taken.fresh:
            with aside():
                job = own.ledger.find(sent.id)
            return _replay(job or fresh(sent, taken), asked)
        job = fresh(sent, taken)
        if event is not None:
            job = own.waiting.until_final(sent.id, event, asked.wait) or job
    return accepted(job, waited=asked.wait)


def _replay(job: JobRecord, asked: Terms) -> Response:
    """The job as it now is, to somebody who asks for it again."""
    bind_contextvars(job_id=ident(job.id))
    if asked.wait and not job.state.final:
        job = services().waiting.watch(job.id, asked.wait) or job
    return accepted(job, waited=asked.wait, headers=REPLAYED)
