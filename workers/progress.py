"""Progress: how far a job has come is told to Redis while it is carried out, for whoever polls it meanwhile."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import structlog
from redis import Redis

from jobs.kernel import broker
from jobs.kernel.context import Report
from jobs.kernel.errors import Cancelled
from jobs.kernel.scripts import script
from workers.work import Work

EVERY = 0.05
"""Seconds between two reports on one job: nobody polls as often, and each costs a write to Redis's disk."""

NEVER = math.inf

ASKED_TO_STOP = 2

log = structlog.get_logger(__name__)


class Progress:
    """Tells Redis, for any number of threads. What is told of a job whose lease is another's is not heard."""

    def __init__(self, redis: Redis) -> None:
        self._tell = script(redis, Path(__file__).with_suffix(".lua"))

    def of(self, works: Sequence[Work]) -> Report:
        """The `report` of a context in which these are carried out. Once Redis has not answered, it asks nothing more for as
        long as they are, since their transaction would wait for it each time."""
        known: dict[UUID, Work] = {}

        def report(job_id: UUID, done: int, total: int) -> None:
            if not known:  # few batches hold a job that reports
                known.update((work.id, work) for work in works)
            work, now = known.get(job_id), time.monotonic()
            if work is None or work.report_at == NEVER or (now < work.report_at and done < total):
                return
            work.report_at = now + EVERY
            try:
                heard = self._tell(args=[work.delivery.id, work.delivery.token, f"{done}/{total}"])
            except (*broker.LOST, broker.ResponseError) as lost:
                log.warning("progress_not_told", job_id=work.delivery.id, error=type(lost).__name__)
                for each in works:
                    each.report_at = NEVER
            else:
                if not heard:
                    work.report_at = NEVER
                elif heard == ASKED_TO_STOP and done < total:
                    raise Cancelled(job_id)

        return report
