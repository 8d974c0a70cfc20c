"""The one way to a Redis client, for everybody: app, limiter, RQ, scheduler and workers."""

from __future__ import annotations

from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from jobs.kernel.errors import QueueDown, QueueFull, Unavailable

LOST = (RedisConnectionError, RedisTimeoutError, OSError)
"""Redis did not answer: whether it did what was asked is not known."""

UNABLE = ("MISCONF", "READONLY", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN")
"""Why Redis may refuse a write that is right: its disk is full, or it is a replica. Source: its error replies."""

CONNECTIONS, TURN = 16, 0.5
"""To Redis in one process, and seconds to wait for one; a plain write holds one for half a millisecond."""

CONNECT, ANSWER = 0.3, 0.6
"""Seconds to wait for a connection, and for an answer: a disk that keeps an `fsync` waiting for half a second is no
outage; and whoever asks once and hears nothing is told so within a second (CONTRACT.md §1)."""

__all__ = ["LOST", "ResponseError", "connect", "options", "unavailable"]


def options(*, timeout: float = ANSWER) -> dict[str, Any]:
    """Connection options: no hidden retries (redis-py repeats a command ten times by default, EXEC included), and
    time-outs in seconds to connect and to read."""
    return {
        "socket_connect_timeout": CONNECT,
        "socket_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "protocol": 2,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def connect(url: str, *, timeout: float = ANSWER) -> Redis:
    """A client with a pool of its own. `timeout`: seconds to wait for an answer; longer for blocking reads.

    The pool is bounded: in a burst, as many connections as requests would spend longer on their handshakes than the
    time-out allows. Whoever finds it empty waits for half a second at most, and then gets one of `LOST`.
    """
    pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=TURN, **options(timeout=timeout))
    return Redis(connection_pool=pool)


def unavailable(refusal: ResponseError) -> Unavailable | None:
    """What a refused write means for who asked: no room, or no writes at all; None for a refusal of another kind.

    Redis 6.2 buries the word in the error of a script, so that its class does not tell; of Redis 7 it does, and the
    client has then taken the word away.
    """
    if isinstance(refusal, OutOfMemoryError) or "OOM" in str(refusal):
        return QueueFull(retry_after=5)
    unable = isinstance(refusal, ReadOnlyError | ClusterDownError) or any(word in str(refusal) for word in UNABLE)
    return QueueDown() if unable else None
