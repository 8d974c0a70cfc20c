"""The executor: a batch of deliveries through decode, guard, handle, record, commit (DESIGN.md §3).

One transaction per batch. If it raises, it is halved, down to single jobs, so that one poisoned command spoils no
other. The executor talks to PostgreSQL only; whoever calls it settles with Redis.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import structlog
from sqlalchemy.orm import Session

from config import Settings
from jobs.kernel.command import Command, handles_many
from jobs.kernel.context import Context, Report, nobody
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Cancelled, Failed
from jobs.kernel.failpoints import Point, reach
from jobs.kernel.outcome import SAID, Again, Done, Outcome, State, failed, said, succeeded
from models.session import DATABASE_ERRORS, Sessions
from workers import receipts
from workers.faults import UnheardError, database_gone, in_the_way, reply_lost
from workers.guard import authorize
from workers.settle import Final, HandBack, Settlement
from workers.work import Work

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]

WAY_CLEARS = (0.5, 1.5)
"""Seconds after which a job is tried again that found locked what it needs; that uses up no attempt."""

Reports = Callable[[Sequence[Work]], Report]
"""Gives the `report` of a context in which these are carried out."""


def redis_clock(then: datetime) -> Clock:
    """Redis's clock, the one of all processes, going on from the time at which it leased this batch."""
    started = time.monotonic()
    return lambda: then + timedelta(seconds=time.monotonic() - started)


class Executor:
    """Carries batches out. Raises nothing: whatever happens to a job is its outcome."""

    def __init__(self, sessions: Sessions, settings: Settings, reports: Reports = lambda _: nobody) -> None:
        self._sessions = sessions
        self._settings = settings
        self._reports = reports

    def run(self, works: list[Work], clock: Clock | None = None) -> list[Settlement]:
        """Carry a batch out and commit it; one settlement per delivery. `clock`: of whoever began with it before.

        What is delivered for the first time has no receipt, as a rule, so none is looked for: where there is one
        all the same, writing another fails, and the batch begins again with a look.
        """
        if not works:
            return []
        new = all(work.delivery.attempt == work.delivery.run == 1 for work in works)
        return self._run(works, clock or redis_clock(works[0].delivery.started_at), look=not new)

    def _run(self, works: list[Work], clock: Clock, *, look: bool = True) -> list[Settlement]:
        decided = [work.outcome for work in works]
        try:
            return self._transact(works, clock, look)
        except Cancelled as stopped:
            for work, outcome in zip(works, decided, strict=True):
                work.outcome = Done(State.CANCELED) if work.id == stopped.job_id else outcome
            return self._run(works, clock, look=look)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is this job's outcome, not the worker's end
            for work, outcome in zip(works, decided, strict=True):
                work.outcome = outcome
            if database_gone(error):
                log.warning("database_unavailable", jobs=len(works), error=type(error).__name__)
                in_doubt = isinstance(error, UnheardError)
                return [work.settled(HandBack(in_doubt)) for work in works]
            if not look and receipts.overtaken(error):
                return self._run(works, clock)
            if len(works) == 1:
                return self.raised(works[0], error, clock)
            half = len(works) // 2
            return self._run(works[:half], clock) + self._run(works[half:], clock)

    def database_answers(self) -> bool:
        """Whether PostgreSQL can be asked anything."""
        try:
            with self._sessions.kw["bind"].connect() as connection:
                connection.exec_driver_sql("SELECT 1")
        except DATABASE_ERRORS as error:
            log.warning("database_unavailable", jobs=0, error=type(error).__name__)
            return False
        return True

    def _transact(self, works: list[Work], clock: Clock, look: bool) -> list[Settlement]:
        reach(Point.BATCH_BEGINS)
        with self._sessions() as session:
            firsts = receipts.first_outcomes(session, works) if look else {}
            told = [work.settled(firsts[work.id]) for work in works if work.id in firsts]
            ours = [work for work in works if work.id not in firsts] if told else works
            roles = authorize(session, ours)
            ctx = Context(session, self._settings, clock(), roles, self._reports(ours))
            _withdraw(ctx, ours)
            self._handle(ctx, ours)
            reach(Point.EFFECT_WRITTEN)
            finished_at = clock()
            for work in ours:
                work.sign()
            receipts.record(session, [(w, w.outcome) for w in ours if isinstance(w.outcome, Done)], finished_at)
            receipts.make_sure_open(session, [w for w in ours if isinstance(w.outcome, Again)])
            reach(Point.RECEIPT_WRITTEN)
            _commit(session)
        return told + [_settlement(work, finished_at) for work in ours]

    def _handle(self, ctx: Context, works: list[Work]) -> None:
        """Give every job that has no outcome yet one, kind by kind; always in the same order of kinds."""
        open_works = [(*_together(type(work.command)), work) for work in works if work.outcome is None and work.command]
        for _, group in groupby(sorted(open_works, key=itemgetter(0)), key=itemgetter(0)):
            members = list(group)
            command, jobs = members[0][1], [(work, work.job) for _, _, work in members if work.job]
            outcomes = (
                command.handle_many(ctx, [job for _, job in jobs])
                if handles_many(command)
                else [_one(ctx, work, job) for work, job in jobs]
            )
            for (_, _, work), outcome in zip(members, outcomes, strict=True):
                work.outcome = outcome

    def raised(self, work: Work, error: Exception, clock: Clock) -> list[Settlement]:
        """What becomes of a single job that raised what says nothing of its end: its receipt is told if it has one by now,
        else it is rejected if it has had one long ago, else tried again by policy, else it fails."""
        if (verdict := self._overtaken(work)) is not None:
            return [work.settled(verdict)]
        if in_the_way(error):
            log.warning("lock_not_granted", job_id=work.delivery.id, request_id=work.request_id, kind=work.kind)
            return [work.settled(Again(clock() + timedelta(seconds=random.uniform(*WAY_CLEARS)), counted=False))]  # noqa: S311 - jitter
        if (forgotten := receipts.forgotten(work, error)) is not None:
            work.outcome = forgotten
            return self._run([work], clock)
        log.error(
            "job_raised",
            job_id=work.delivery.id,
            request_id=work.request_id,
            kind=work.kind,
            attempt=work.delivery.attempt,
            exc_info=error,
        )
        delay = work.command.policy.retry.delay(work.delivery.attempt) if work.command and not work.outcome else None
        if delay is not None:
            return [work.settled(Again(clock() + timedelta(seconds=delay), counted=True))]
        if work.outcome is not None:  # it could not even be written down: leave out what it carries, or leave it
            log.error("job_not_recorded", job_id=work.delivery.id, request_id=work.request_id)
            carried, work.envelope = work.envelope, None
            return self._run([work], clock) if carried else []
        work.outcome = failed(Failed(f"The job failed {work.delivery.attempt} times.", code="job_failed"))
        return self._run([work], clock)

    def _overtaken(self, work: Work) -> Final | HandBack | None:
        """The outcome that another worker has written down for a job while this one was at it; where the database is
        gone before that could be seen, the job goes back."""
        try:
            with self._sessions() as session:
                return receipts.first_outcomes(session, [work]).get(work.id)
        except DATABASE_ERRORS as error:
            return HandBack() if database_gone(error) else None


@cache
def _together(kind: type[Command]) -> tuple[str, type[Command]]:
    """The name of the group a command is handled in: kinds that share a `handle_many` share it."""
    return (kind.handle_many.__qualname__ if handles_many(kind) else kind.kind), kind


def _one(ctx: Context, work: Work, job: Job[Any]) -> Outcome:
    """Carry one job out, or conclude it, in a savepoint: what it raises to say how it ends takes back what it had written."""
    ctx = replace(ctx, drops=work.drops)
    try:
        with ctx.session.begin_nested():
            return work.conclusion(ctx) if work.conclusion else succeeded(job.command.handle(ctx, job))
    except SAID as what:
        return said(what)


def _withdraw(ctx: Context, works: Sequence[Work]) -> None:
    """Have what was canceled on its way take back what its earlier executions have written."""
    for work in works:
        if work.job is not None and work.is_withdrawn:
            work.job.command.withdraw(replace(ctx, drops=work.drops), work.job)


def _commit(session: Session) -> None:
    try:
        session.commit()
        reach(Point.COMMIT_ANSWERED, reply_lost)
    except Exception as error:
        if database_gone(error):
            raise UnheardError from error
        raise


def _settlement(work: Work, finished_at: datetime) -> Settlement:
    """What is told of a job that this transaction has decided."""
    outcome = work.outcome
    if isinstance(outcome, Done):
        return work.settled(Final(outcome.state, work.ended(finished_at), outcome.effects, outcome.follow_ups))
    return work.settled(outcome or HandBack())


def execute(envelope: dict[str, Any]) -> None:
    """What a job's hash names as its function: only a stock `rq worker` ever calls it. See `workers.stock`."""
    from workers.stock import run_current_job

    run_current_job()
