"""Registration: how a worker shows in `rq info` and to `/readyz`, in RQ's own form."""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus
from rq.worker_registration import clean_worker_registry

TTL_SECONDS = 30


class Registration:
    """One worker's entry in RQ's registry of workers. A dead one's entry expires by itself."""

    def __init__(self, redis: Redis, queues: Sequence[str], name: str) -> None:
        self._redis = redis
        self._queues = list(queues)
        self._name = name
        self._worker: Worker | None = None

    def sign_on(self) -> None:
        """Register, or renew: also after Redis has lost everything."""
        if self._worker is None:
            options = self._redis.connection_pool.connection_kwargs
            timeout = options["socket_timeout"]
            self._worker = Worker(
                self._queues,
                name=self._name,
                connection=self._redis,
                serializer=JSONSerializer,
                worker_ttl=TTL_SECONDS,
            )
            options["socket_timeout"] = timeout  # RQ sets its own, of many seconds: a lost reply would stop the heart
        if self._redis.exists(self._worker.key):
            self._worker.heartbeat()
        else:
            self._redis.sadd(Queue.redis_queues_keys, *self._worker.queue_keys())  # a queue shows before its first job
            for queue in self._worker.queues:
                clean_worker_registry(queue)  # who was killed stays in it, and whoever counts workers looks at each
            self._worker.register_birth()
            self._worker.set_state(WorkerStatus.IDLE)

    def sign_off(self) -> None:
        """Leave the registry."""
        if self._worker is not None:
            self._worker.register_death()
