"""The road of a write in one process: the real submit, leases, executor and ledger, driven step by step."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from redis import Redis

from config import Settings
from jobs.kernel import broker, registry
from jobs.kernel.cancel import Canceled, Canceler
from jobs.kernel.dead_letters import DeadLetters
from jobs.kernel.ledger import Ledger
from jobs.kernel.outcome import State
from jobs.kernel.policy import QUEUES
from jobs.kernel.ports import Carrier, Sink
from jobs.kernel.rerun import DeadLetter, Rerun, Rerunner
from jobs.kernel.secret import SEALED
from jobs.kernel.submit import Submission, Submitter, new_id
from models.session import Sessions, writer
from workers.conductor import Conductor
from workers.executor import Executor
from workers.follow_ups import follow_up
from workers.leases import Delivery, Leases
from workers.outside import Gate, Services
from workers.progress import Progress
from workers.scheduler import DueScheduler
from workers.settle import Settlement
from workers.work import Work, opened


@dataclass
class Road:
    """A submitter, one worker and a scheduler that do nothing by themselves, each with its own rights in Redis.

    `settings`, `redis`: the administrator's. `redis_as`: the URL of one of Redis's users. `carrier`, `gates`, `sink`: what
    conducted jobs find outside; each may be set at any time.
    """

    settings: Settings
    owner: UUID
    redis_as: Callable[[str], str]
    carrier: Carrier | None = None
    gates: Mapping[str, Gate] = field(default_factory=dict)
    sink: Sink | None = None
    redis: Redis = field(init=False)
    sessions: Sessions = field(init=False)

    def __post_init__(self) -> None:
        self.redis = broker.connect(self.settings.redis_url, timeout=5)
        self.sessions = writer(self.settings.write_database_url, lease_seconds=self.settings.lease_seconds)
        self._of_api, self._of_worker = (broker.connect(self.redis_as(who), timeout=5) for who in ("api", "worker"))
        self.submitter = Submitter(self._of_api, self.settings)
        self.canceler = Canceler(self._of_api)
        self.rerunner = Rerunner(self._of_api, self.settings)
        self.ledger = Ledger(self._of_api, self.sessions)
        self.dead_letters = DeadLetters(self.sessions)
        self.leases = self.worker()
        self.reports = Progress(self._of_worker).of
        self.executor = Executor(self.sessions, self.settings, self.reports)
        self.follow_ups = Submitter(self._of_worker, self.settings)
        self._of_workers = Rerunner(self._of_worker, self.settings)
        self.scheduler = DueScheduler(self._of_worker, self.settings)

    def with_settings(self, **changes: Any) -> Road:
        """The same, under other settings."""
        given = changes.get("redis_url")
        redis_as = (lambda _: given) if given else self.redis_as
        return Road(self.settings.model_copy(update=changes), self.owner, redis_as, self.carrier, self.gates, self.sink)

    @property
    def of_worker(self) -> Settings:
        """The settings of a worker's process."""
        return self.settings.model_copy(update={"redis_url": self.redis_as("worker")})

    def worker(self) -> Leases:
        """Another worker's view of the queues."""
        return Leases(self._of_worker, self.settings, f"test-{secrets.token_hex(4)}")

    def submit(self, kind: str, body: dict[str, Any] | None = None, **more: Any) -> UUID:
        """Submit a command of a kind; `more`: members of Submission. A password is a hash, as the API makes it one."""
        declared = registry.find(kind)
        assert declared is not None
        command = declared.model_validate_json(orjson.dumps(body or {}), context=SEALED)
        given = {"id": new_id(), "owner": self.owner} | more
        return self.submitter.submit(Submission(command=command, **given)).id

    def order(self, customer: str, **more: Any) -> UUID:
        """Submit one order."""
        body = {"services": ["123"], "total_fee": "100.00", "customer_id": customer} | more.pop("body", {})
        return self.submit("orders.place", body, **more)

    def cancel(self, job_id: UUID) -> Canceled:
        return self.canceler.cancel(job_id)

    def letter(self, job_id: UUID) -> DeadLetter:
        """What is left of a failed job."""
        found = self.dead_letters.find(job_id)
        assert found is not None, f"no dead letter {job_id}"
        return found

    def rerun(self, *ids: UUID) -> list[Rerun]:
        """Run failed jobs again; what came of each."""
        return self.rerunner.rerun([self.letter(job_id) for job_id in ids])

    def reserve(self, most: int = 100) -> list[Delivery]:
        return self.leases.reserve(list(QUEUES), most)

    def execute(self, deliveries: Sequence[Delivery]) -> list[Settlement]:
        """Carry jobs out: those of queues of batches in one go, those of queues of threads one by one."""
        works = [opened(delivery) for delivery in deliveries]
        settlements = self.executor.run([work for work in works if QUEUES[work.delivery.queue] == "batch"])
        for work in works:
            if QUEUES[work.delivery.queue] == "threads":
                settlements += self.conduct(work)
        return settlements

    def conduct(self, work: Work, ours: Callable[[], bool] = lambda: True) -> list[Settlement]:
        """Carry one job out as a thread does. `ours`: whether its lease cannot be another worker's yet."""
        services = Services(self.carrier, self.gates, self._of_worker, self.sink, self._of_workers)
        return Conductor(self.sessions, self.settings, services, self.reports).run(work, ours)

    def work(self, most: int = 100) -> int:
        """Do everything that is queued, and what follows from it, in batches of `most`; returns how many executions that
        took."""
        done = 0
        while deliveries := self.reserve(most):
            settlements = self.execute(deliveries)
            self.leases.settle(settlements)
            follow_up(self.follow_ups, settlements)
            done += len(deliveries)
        return done

    def work_at_once(self, queue: str, workers: int = 4) -> None:
        """Do everything on a queue, in small batches, by several workers."""

        def one_worker(_: int) -> None:
            leases = self.worker()
            while deliveries := leases.reserve([queue], 5):
                leases.settle(self.execute(deliveries))

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one_worker, range(workers)))

    def job(self, job_id: UUID) -> dict[str, Any]:
        """The job as a client sees it."""
        record = self.ledger.find(job_id)
        assert record is not None, f"no job {job_id}"
        shown: dict[str, Any] = orjson.loads(orjson.dumps(record.view()))
        return shown

    def status(self, job_id: UUID) -> State:
        return State(self.job(job_id)["status"])

    def code(self, job_id: UUID) -> str | None:
        """The code of the job's error."""
        error = self.job(job_id)["error"]
        return error and error["code"]

    def make_due(self, job_id: UUID, at: datetime | None = None) -> None:
        """Let a scheduled job's time come now, and promote it."""
        self.redis.zadd("rq:scheduler:scheduled_jobs", {str(job_id): at.timestamp() if at else 0}, xx=True)
        self.scheduler.enqueue_jobs()

    def expire_leases(self, *ids: UUID) -> None:
        """Let every lease, or those of some jobs, run out now, as if the worker had died a lease ago; have them reaped."""
        self.leases.reap()  # the first call only notes which Redis this is
        for queue in QUEUES:
            for member in self.redis.zrange(f"millrace:leases:{queue}", 0, -1):
                if not ids or UUID(member.decode()) in ids:
                    self.redis.zadd(f"millrace:leases:{queue}", {member: float(self.redis.time()[0] * 1000 - 1)})
        self.redis.hset("millrace:reaper", mapping={"grace_until": 0})
        self.leases.reap()

    def rows(self, statement: str) -> list[Any]:
        """Rows of a query, in a transaction of its own."""
        from sqlalchemy import text

        with self.sessions() as session:
            return list(session.execute(text(statement)))

    def close(self) -> None:
        self.sessions.kw["bind"].dispose()
        for redis in (self.redis, self._of_api, self._of_worker):
            redis.close()
