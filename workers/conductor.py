"""The conductor: carries out one job in steps, some of them outside PostgreSQL (`Command.conduct`).

Opening, in one transaction: is there a receipt, and may who sent it still send it? Then the steps, which are the kind's
own. The last one the executor takes, in the transaction that the receipt is written in, as it does for every job.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from uuid import UUID

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from config import Settings
from jobs.kernel.command import Command, is_conducted
from jobs.kernel.context import Context, nobody
from jobs.kernel.effects import Applier, drops_of
from jobs.kernel.envelope import Job
from jobs.kernel.outcome import SAID, said
from jobs.kernel.ports import LeaseLost
from models.session import Sessions
from workers import receipts
from workers.executor import Clock, Executor, Reports, redis_clock
from workers.faults import database_gone
from workers.guard import authorize
from workers.outside import Outside, Services
from workers.settle import Final, HandBack, Settlement
from workers.work import Work

log = structlog.get_logger(__name__)

REDIS_AWAY = (RedisConnectionError, RedisTimeoutError)
"""Less than broker.LOST: an OSError that a job raises is mostly another service's, and not to be tried for ever."""


class Conductor:
    """Carries single jobs out, those that are conducted and all others; for any number of threads at once. Raises nothing."""

    def __init__(
        self,
        sessions: Sessions,
        settings: Settings,
        services: Services | None = None,
        reports: Reports = lambda _: nobody,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._services = services or Services()
        self._reports = reports
        self._executor = Executor(sessions, settings, reports)
        redis = self._services.redis
        self._effects = Applier(redis, settings.read_replica_lag_seconds) if redis is not None else None

    def run(self, work: Work, ours: Callable[[], bool]) -> list[Settlement]:
        """Carry a job out to its last commit; its settlement. `ours`: whether its lease cannot be another worker's yet."""
        with structlog.contextvars.bound_contextvars(job_id=work.delivery.id, request_id=work.request_id):
            if work.outcome is None and work.job is not None and is_conducted(type(work.job.command)):
                return self._conduct(work, work.job, ours)
            return self._executor.run([work])

    def _conduct(self, work: Work, job: Job[Command], ours: Callable[[], bool]) -> list[Settlement]:
        clock = redis_clock(work.delivery.started_at)
        try:
            first, roles = self._open(work, job, clock)
            if first is not None:
                return [work.settled(first)]
            if work.outcome is None:
                transaction = partial(self._transaction, work, clock, roles)
                outside = Outside(self._settings, self._services, transaction, ours)
                work.conclusion = job.command.conduct(outside, job)
        except SAID as what:
            work.outcome = said(what)
        except LeaseLost:
            log.warning("lease_lost")
            return [work.settled(HandBack(in_doubt=True))]
        except REDIS_AWAY as error:
            log.warning("queue_unavailable", error=type(error).__name__)
            return [work.settled(HandBack())]
        except Exception as error:  # noqa: BLE001 - whatever a step raises is this job's outcome, not the worker's end
            if not database_gone(error):
                return self._executor.raised(work, error, clock)
            log.warning("database_unavailable", jobs=1, error=type(error).__name__)
            return [work.settled(HandBack())]
        return self._executor.run([work], clock)

    @contextmanager
    def _transaction(self, work: Work, clock: Clock, roles: Mapping[UUID, str]) -> Iterator[Context]:
        """One transaction of a job, committed when the block ends, rolled back when it raises."""
        with self._sessions.begin() as session:
            ctx = Context(session, self._settings, clock(), roles, self._reports([work]))
            yield ctx
        self._drop(work, ctx.drops)

    def _drop(self, work: Work, scopes: Collection[str]) -> None:
        """What reads have kept is dropped right after a step has been committed, and once more with what is told of the job."""
        work.drops.update(scopes)
        if self._effects is not None and scopes:
            self._effects.apply([drops_of(scopes)])

    def _open(self, work: Work, job: Job[Command], clock: Clock) -> tuple[Final | None, Mapping[UUID, str]]:
        """Its outcome, where it has its receipt already; and its sender's role. Who may not send it is refused, unless it
        is under way."""
        with self._sessions() as session:
            first = receipts.first_outcomes(session, [work]).get(work.id)
            roles = authorize(session, [work]) if first is None else {}
            refusal, work.outcome = work.outcome, None
            if refusal is not None and not job.command.under_way(Context(session, self._settings, clock(), roles), job):
                work.outcome = refusal
        return first, roles
