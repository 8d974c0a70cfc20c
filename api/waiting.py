"""Waiting for jobs to be final (`Prefer: wait=N`), without a connection or a thread of Redis for each who waits.

One subscriber in a process listens on one channel of its own; workers tell that channel of each final job that asks
for it. Under gevent the events and the subscriber are greenlets; under plain threads they work alike.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from time import monotonic, sleep
from uuid import UUID

import structlog
from redis import Redis

from api.flight import aside, ending
from jobs.kernel import broker, keys
from jobs.kernel.errors import QueueDown
from jobs.kernel.ledger import Ledger
from jobs.kernel.outcome import FINAL
from jobs.kernel.record import JobRecord
from models.session import DATABASE_ERRORS

LOOK = 1.0
"""Seconds between looks at all that is waited for: what is told while nobody listens is told in vain."""

SUBSCRIBE = 0.1
"""Seconds that the first to wait waits for the subscriber; without it the looks still find the outcome."""

log = structlog.get_logger(__name__)


class Waiting:
    """Those who wait, and the one who listens for them; it starts with the first of them, so after any fork."""

    def __init__(self, redis_url: str, ledger: Ledger) -> None:
        self._url = redis_url
        self._ledger = ledger
        self._lock = Lock()
        self._waiting: dict[str, list[Event]] = {}
        self._listeners: list[Callable[[UUID], None]] = []
        self._process = 0
        self._channel = ""
        self._subscribed = Event()

    def listen(self, heard: Callable[[UUID], None]) -> None:
        """From now on `heard` is called for each final job that this process is told about, whoever asked for it."""
        self._listeners.append(heard)

    @property
    def channel(self) -> str:
        """Where workers tell this process about final jobs; from now on somebody listens there."""
        with self._lock:
            if self._process != os.getpid():
                self._process = os.getpid()
                self._channel = f"millrace:api:{secrets.token_hex(8)}"
                self._waiting.clear()
                self._subscribed = Event()
                Thread(target=self._listen, args=(self._channel,), name="waiting", daemon=True).start()
        self._subscribed.wait(SUBSCRIBE)
        return self._channel

    def close(self) -> None:
        """Have the one who listens stop, within a look."""
        self._channel = ""

    @contextmanager
    def expecting(self, job_id: UUID) -> Iterator[Event]:
        """An event that is set when the job is heard to be final, from before it can be."""
        key, event = str(job_id), Event()
        with self._lock:
            self._waiting.setdefault(key, []).append(event)
        try:
            yield event
        finally:
            with self._lock:
                events = self._waiting.get(key, [])
                events.remove(event)
                if not events:
                    self._waiting.pop(key, None)

    def until_final(self, job_id: UUID, event: Event, seconds: float) -> JobRecord | None:
        """The job, final or as it is after `seconds`, or as soon as the server has been told to stop; None where that
        cannot be told."""
        deadline, leaving = monotonic() + seconds, ending()
        try:
            while (left := deadline - monotonic()) > 0 and not leaving():
                if not _heard(event, min(left, LOOK)):
                    continue
                event.clear()
                job = self._ledger.find(job_id)
                if job is None or job.state.final:
                    return job
            return self._ledger.find(job_id)
        except (QueueDown, *DATABASE_ERRORS):
            return None

    def watch(self, job_id: UUID, seconds: float) -> JobRecord | None:
        """The job, waited for: for somebody who did not submit it just now."""
        channel = self.channel
        with self.expecting(job_id) as event:
            try:
                told = self._ledger.notify_when_final(job_id, channel)
            except QueueDown:
                return self._ledger.find(job_id)
            if not told:
                return self._ledger.find(job_id)
            return self.until_final(job_id, event, seconds)

    def _listen(self, channel: str) -> None:
        while self._channel == channel:
            try:
                self._subscribe(channel)
            except broker.LOST:
                log.warning("waiting_not_subscribed")
                sleep(LOOK)

    def _subscribe(self, channel: str) -> None:
        redis = broker.connect(self._url, timeout=5)
        try:
            with redis.pubsub() as pubsub:
                pubsub.subscribe(channel)
                look = 0.0
                while self._channel == channel:
                    message = pubsub.get_message(timeout=LOOK)
                    if message is not None and message["type"] == "subscribe":
                        self._subscribed.set()
                    elif message is not None:
                        self._tell(message["data"].decode().partition(" ")[0])
                    if monotonic() >= look:
                        self._look(redis)
                        look = monotonic() + LOOK
        finally:
            redis.close()

    def _look(self, redis: Redis) -> None:
        """Wake those whose job is final, or not here any more, though nothing was heard of it."""
        with self._lock:
            waited_for = list(self._waiting)
        if not waited_for:
            return
        asked = redis.pipeline(transaction=False)
        for job_id in waited_for:
            asked.hget(keys.job(job_id), "state")
        for job_id, state in zip(waited_for, asked.execute(), strict=True):
            if state is None or state.decode() in FINAL:
                self._wake(job_id)

    def _tell(self, job_id: str) -> None:
        self._wake(job_id)
        for heard in self._listeners:
            heard(UUID(job_id))

    def _wake(self, job_id: str) -> None:
        with self._lock:
            for event in self._waiting.get(job_id, ()):
                event.set()


def _heard(event: Event, seconds: float) -> bool:
    with aside():
        return event.wait(seconds)
