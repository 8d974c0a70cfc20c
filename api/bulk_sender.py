"""The sender of a bulk: lines become jobs, some at a time, and one bad line spoils no other (CONTRACT.md §2).

What a single write asks of PostgreSQL and of Redis is asked once for all lines that are sent together. What is away when a bulk
is half done, is not asked again for the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter, sleep
from typing import TypeVar
from uuid import UUID

from flask import g

from api import bulk_lines, targets
from api.bulk_lines import Line
from api.flight import aside
from api.problems import understood
from api.services import services
from api.sessions import named
from api.submissions import Submissions, fresh, reused
from api.tokens import Caller
from jobs.kernel.command import Command
from jobs.kernel.errors import AppError, DatabaseDown, Forbidden, NotFound, QueueDown
from jobs.kernel.record import JobRecord
from jobs.kernel.secret import given_passwords
from jobs.kernel.submit import Accepted, Result, Submission
from models.views import ident

TURN, PAUSE = 0.005, 0.0001
"""Seconds after which whoever else is served by this process has a turn, and at least for how long: without any, gevent comes
back up to fifty times before it looks at a socket."""

T = TypeVar("T")


@dataclass(slots=True)
class Sent:
    """What has become of one line. `refusal`: it was not accepted; `taken`: it was, now; `job`: it was accepted before, and this is
    how it stands. `there`: its target is there for whoever sends it."""

    line: Line | None = None
    submission: Submission | None = None
    there: bool = True
    refusal: AppError | None = None
    taken: Accepted | None = None
    job: JobRecord | None = None


class Sender:
    """Sends the lines of one bulk."""

    def __init__(self, who: Caller) -> None:
        self._who = who
        self._own = services()
        self._submissions = Submissions(who)
        self._limit = self._own.limits.of_lines(who.id)
        self._session = named(who.id, who.session)
        self.accepted = 0
        """How many lines were, so far."""
        self._queue_away = self._database_away = False
        self._turn_ends = perf_counter() + TURN

    def send(self, lines: Iterable[tuple[bytes, str | None]]) -> list[Sent]:
        """What has become of these lines, in order: each with its idempotency key, where it may need one. Raises QueueDown where
        Redis is away, and no line of the bulk was accepted before."""
        sent = [self._read(*line) for line in lines]
        self._look_for_targets(sent)
        for one in sent:
            self._make(one)
        self._look_for_earlier(sent)
        self._submit([one for one in sent if one.submission and not one.refusal and not one.job])
        self.accepted += sum(one.refusal is None for one in sent)
        if self._queue_away and not self.accepted:
            raise QueueDown
        self._look_for_repeated([one for one in sent if one.taken and not one.taken.fresh])
        return sent

    def _read(self, raw: bytes, key: str | None) -> Sent:
        """A line that its sender may ask for; every other is refused."""
        self._take_turns()
        try:
            line = bulk_lines.read(raw, key)
            line.command.check(self._own.settings)
            if not line.command.admits(self._who.role, self._who.id):
                raise Forbidden
        except Exception as error:  # noqa: BLE001 - one bad line spoils no other
            return Sent(refusal=_told(error))
        return Sent(line)

    def _take_turns(self) -> None:
        if perf_counter() > self._turn_ends:
            sleep(PAUSE)
            self._turn_ends = perf_counter() + TURN

    def _look_for_targets(self, sent: Sequence[Sent]) -> None:
        asking: dict[targets.Target, list[tuple[Sent, UUID]]] = {}
        for one in sent:
            if one.line is not None and one.line.target is not None and one.line.command.target is not None:
                asking.setdefault(one.line.command.target, []).append((one, one.line.target))
        for target, named_ones in asking.items():
            there = self._in_database(partial(targets.seen, target, {wanted for _, wanted in named_ones}, self._who))
            for one, wanted in named_ones:
                if there is None:
                    one.refusal = DatabaseDown()
                else:
                    one.there = wanted in there

    def _make(self, one: Sent) -> None:
        """The submission of a line, once it was counted against what limits its kind beside all lines."""
        if one.line is None or one.refusal is not None:
            return
        command, route, target, asked = one.line
        try:
            self._count(command)
            if not one.there and asked.key is None:
                raise NotFound
            one.submission = self._submissions.of(command, route, target, asked)
        except Exception as error:  # noqa: BLE001 - one bad line spoils no other
            one.refusal = _told(error)

    def _count(self, command: Command) -> None:
        if given_passwords(command):  # to hash one costs more than all the rest
            self._own.limits.count_caller(self._who)
        for limit in command.policy.limits:
            if not limit.per_job:
                told = g.get("limit_state")
                try:
                    self._own.limits.count(limit, command, self._who)
                finally:
                    g.limit_state = told

    def _look_for_earlier(self, sent: Sequence[Sent]) -> None:
        """Find the jobs that earlier requests with these keys have left receipts of. Their targets may be gone by now."""
        keyed = [(one, one.submission) for one in sent if one.submission and one.submission.fingerprint is not None]
        found = self._in_database(partial(self._receipts, [asked.id for _, asked in keyed])) if keyed else {}
        for one, asked in keyed:
            if found is None:  # a create goes on without the look: the worker finds the receipt
                one.refusal = DatabaseDown() if asked.target is not None else None
            elif (earlier := found.get(asked.id)) is None:
                one.refusal = None if one.there else NotFound()
            elif (refusal := reused(asked, earlier)) is not None:
                one.refusal = refusal
            else:
                one.job = earlier

    def _receipts(self, ids: Sequence[UUID]) -> dict[UUID, JobRecord]:
        with aside():
            return self._own.ledger.receipts(ids)

    def _in_database(self, ask: Callable[[], T]) -> T | None:
        """What PostgreSQL says; None where it does not."""
        if self._database_away:
            return None
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - what was accepted before is told
            understood(error)
            self._database_away = True
            return None

    def _submit(self, sent: Sequence[Sent]) -> None:
        asked = [one.submission for one in sent if one.submission is not None]
        for one, result in zip(sent, self._results(asked), strict=True):
            if isinstance(result, AppError):
                one.refusal = result
                self._queue_away = self._queue_away or isinstance(result, QueueDown)
            else:
                one.taken = result

    def _results(self, asked: Sequence[Submission]) -> Sequence[Result]:
        if self._queue_away:
            return [QueueDown(job_id=ident(one.id)) for one in asked]
        try:
            return self._own.submitter.submit_many(asked, self._limit, self._session)
        except Exception as error:  # noqa: BLE001 - what was accepted before is told
            return [understood(error)] * len(asked)

    def _look_for_repeated(self, sent: Sequence[Sent]) -> None:
        """Find how jobs stand that were asked for before, and have no receipt yet."""
        asked = [(one, one.submission, one.taken) for one in sent if one.submission and one.taken]
        known: Mapping[UUID, JobRecord | None] | None = {}
        try:
            if asked:
                with aside():
                    known = self._own.ledger.find_many([wanted.id for _, wanted, _ in asked])
        except Exception as error:  # noqa: BLE001 - what was accepted before is told
            understood(error)
            known = None
        for one, wanted, taken in asked:
            if known is None:
                one.refusal = QueueDown(job_id=ident(wanted.id))
            elif (job := known.get(wanted.id, fresh(wanted, taken))) is None:
                one.refusal = DatabaseDown()
            else:
                one.job = job


def _told(error: Exception) -> AppError:
    """What an error is to clients, and no more: by what it has passed it would keep the whole bulk, in a circle."""
    return understood(error).with_traceback(None)
