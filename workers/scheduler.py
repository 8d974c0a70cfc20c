"""The scheduler: rq-scheduler, made to keep our promises. `python -m workers.scheduler`; two may run, one acts.

Stock code promotes one job in several round trips (760/s), resets a canceled job to queued, pickles what it makes,
holds a lock that anybody may delete, and ends at the first hash it cannot read. What is due here is moved by one
script (`promote.lua`). What runs by itself is submitted here too (`workers/periodic.py`).
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import LockError, LockNotOwnedError
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq_scheduler import Scheduler

import jobs
from config import Settings
from jobs.kernel import broker
from jobs.kernel import log as logs
from jobs.kernel.counting import Counting
from jobs.kernel.scripts import script
from workers.periodic import Periodic

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5
LOCK_SECONDS = 5
CHUNK = 500


class JsonJob(Job):
    """RQ's job, in JSON unless told otherwise."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id, connection, serializer or JSONSerializer)


class JsonQueue(Queue):
    """RQ's queue, in JSON unless told otherwise."""

    job_class = JsonJob

    def __init__(self, name: str = "default", **named: Any) -> None:
        super().__init__(name, **({"serializer": JSONSerializer} | named))


class DueScheduler(Scheduler):
    """Moves jobs that are due to their queues, and submits those of periodic kinds, while it holds the lock."""

    job_class = JsonJob
    queue_class = JsonQueue

    def __init__(self, redis: Redis, settings: Settings) -> None:
        super().__init__(connection=redis, interval=POLL_SECONDS)
        self._periodic = Periodic(redis, settings)
        self._counting = Counting(redis)
        self._promote = script(redis, Path(__file__).with_name("promote.lua"))
        self._lock = redis.lock(self.scheduler_lock_key, timeout=LOCK_SECONDS, blocking=False)
        self._stopping = threading.Event()

    def run(self, burst: bool = False) -> None:
        """Promote and submit what is due every half second until asked to stop; once, when `burst`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        log.info("scheduler_started", scheduler=self.name)
        while not self._stopping.is_set():
            try:
                self._turn()
            except broker.LOST as lost:
                log.warning("queue_unavailable", error=type(lost).__name__)
            except broker.ResponseError as refusal:
                log.error("queue_refused", error=str(refusal))
            self._counting.add()
            if burst:
                break
            self._stopping.wait(POLL_SECONDS)
        self._leave()
        log.info("scheduler_stopped", scheduler=self.name)

    def enqueue_jobs(self) -> int:
        """Move everything that is due to its queue; returns how many jobs there were."""
        total = 0
        promoted: int
        aside: int
        while True:
            promoted, aside = self._promote(args=[CHUNK])
            total += promoted
            if aside:
                log.error("scheduled_jobs_set_aside", jobs=aside)
            if promoted + aside < CHUNK:
                return total

    def acquire_lock(self) -> bool:
        """Take the lock, or renew it where it is this scheduler's."""
        if self._lock.local.token is not None:
            try:
                return bool(self._lock.reacquire())
            except (LockError, LockNotOwnedError):
                self._lock.local.token = None
        return bool(self._lock.acquire())

    def remove_lock(self) -> None:
        """Give the lock back, if it is this scheduler's."""
        if self._lock.local.token is not None:
            try:
                self._lock.release()
            except (LockError, LockNotOwnedError):
                self._lock.local.token = None

    def _turn(self) -> None:
        if self.connection.exists(self.key):
            self.heartbeat()
        else:
            self.register_birth()
        if self.acquire_lock():
            self.enqueue_jobs()
            self._periodic.submit_due()

    def _leave(self) -> None:
        try:
            self.remove_lock()
            self.register_death()
        except (*broker.LOST, broker.ResponseError):
            log.warning("queue_unavailable", at="exit")


def main() -> int:
    """Run one scheduler of this environment's settings, for every declared kind."""
    settings = Settings.from_env()
    logs.configure(settings)
    jobs.load()
    DueScheduler(broker.connect(settings.redis_url), settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
