"""Cancel: a job that no worker ever had is canceled at once; of any other it is asked, and a worker answers (CONTRACT.md §2)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from uuid import UUID

from redis import Redis

from jobs.kernel import broker
from jobs.kernel.errors import QueueDown
from jobs.kernel.scripts import script
from models.views import ident


class Canceled(StrEnum):
    """What came of it. `CANCELED`: it will not be carried out. `ASKED`: a worker has it, or had it, and decides as it still can.
    `FINAL`: it was over. `GONE`: Redis does not have it."""

    CANCELED = "canceled"
    ASKED = "asked"
    FINAL = "final"
    GONE = "gone"


class Canceler:
    """Cancels jobs, for any number of threads."""

    def __init__(self, redis: Redis) -> None:
        self._cancel = script(redis, Path(__file__).with_name("cancel.lua"))

    def cancel(self, job_id: UUID) -> Canceled:
        """Cancel a job that has no receipt. When this returns, it is on disk. Raises QueueDown, and ResponseError."""
        try:
            return Canceled(self._cancel(args=[ident(job_id)]).decode())
        except broker.LOST as lost:
            raise QueueDown(job_id=ident(job_id)) from lost
