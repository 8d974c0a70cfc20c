"""Periodic kinds: each has a job at every one of its fire times. The scheduler submits it, and does nothing else with it.

The fire times of a kind lie `every` seconds apart, on Redis's clock: the present one is the last that is no later than
now. A job's id is made of its kind and its fire time, so that two schedulers, one that is started anew, and one that
never heard the answer all mean the same job. Fire times at which no scheduler ran are not caught up.
"""

from __future__ import annotations

from typing import cast
from uuid import UUID

import structlog
from redis import Redis

from config import Settings
from jobs.kernel import keys, registry
from jobs.kernel.command import Command
from jobs.kernel.errors import Unavailable
from jobs.kernel.outcome import FINAL, State
from jobs.kernel.submit import Submission, Submitter, fingerprint, keyed_id
from models.views import ident

log = structlog.get_logger(__name__)

SENDER = UUID("0192f0c1-7d1e-7c43-9b0a-5d0e3c5b8a16")
"""Whose the ids of these jobs are, as those of a user's keys are the user's. Nobody has this id."""


OPEN = frozenset(State) - FINAL


class Periodic:
    """Submits what is due of every kind that is periodic."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._secret = settings.secret_key
        self._submitter = Submitter(redis, settings)
        self._every: dict[type[Command], int] = {
            kind: getattr(settings, kind.every) for kind in registry.every() if kind.every is not None
        }
        self._last: dict[type[Command], int] = {}

    def submit_due(self) -> None:
        """Submit the job of each kind's present fire time, unless the kind's last one is still to be carried out: while
        nobody works, they do not pile up. Raises one of `broker.LOST` or ResponseError where Redis cannot be asked."""
        if not self._every:
            return
        now, _ = self._redis.time()
        for kind, seconds in self._every.items():
            fire = now // seconds * seconds
            if self._last.get(kind) != fire and self._submitted(kind, fire):
                self._last[kind] = fire

    def _submitted(self, kind: type[Command], fire: int) -> bool:
        """Whether the job of a fire time is, or was, on its queue."""
        name = f"{kind.kind}@{fire}"
        job_id = keyed_id(self._secret, SENDER, name)
        last = self._hget(keys.PERIODIC, kind.kind)
        if last == ident(job_id):
            return True
        if last is not None and self._hget(keys.job(last), "state") in OPEN:
            return False
        mark = fingerprint(name, {}, None, None)
        try:
            taken = self._submitter.submit(Submission(job_id, kind(), owner=None, fingerprint=mark))
        except Unavailable as refused:
            log.warning("periodic_job_not_submitted", kind=kind.kind, job_id=ident(job_id), error=refused.code)
            return False
        # After it, not before: a scheduler that dies in between leaves a fire time to be asked for again, not one missed.
        self._redis.hset(keys.PERIODIC, kind.kind, ident(job_id))
        if taken.fresh:
            log.info("periodic_job_submitted", kind=kind.kind, job_id=ident(job_id))
        return True

    def _hget(self, key: str, field: str) -> str | None:
        found = cast(bytes | None, self._redis.hget(key, field))
        return found.decode() if found is not None else None
