"""The names of our keys in Redis, and RQ's where we touch them. Lua spells the same names; a test compares them."""

from __future__ import annotations

from uuid import UUID

from jobs.kernel.policy import Priority

SCHEDULED = "rq:scheduler:scheduled_jobs"
OWNERS = "millrace:owners"
PAUSED = "millrace:paused"
PERIODIC = "millrace:periodic"
"""A hash: of each periodic kind the job that was submitted last."""

METERS = "millrace:meters"
"""A hash of what is counted of all processes together, to be read at /metrics."""


def job(job_id: UUID | str) -> str:
    return f"rq:job:{job_id}"


def queue(name: str) -> str:
    return f"rq:queue:{name}"


def lanes(name: str) -> tuple[str, ...]:
    """The lists of a queue's jobs, in the order in which workers take from them."""
    return tuple(queue(priority.lane(name)) for priority in Priority)


def started(name: str) -> str:
    return f"rq:wip:{name}"


def worker(name: str) -> str:
    return f"rq:worker:{name}"


def wake(name: str) -> str:
    return f"millrace:wake:{name}"


def leases(name: str) -> str:
    return f"millrace:leases:{name}"


def live_jobs(owner: UUID | str) -> str:
    """The index of a user's jobs that are not final yet, by submission in microseconds."""
    return f"millrace:jobs:{owner}"


def sessions(user: UUID | str) -> str:
    """A hash of a user's sessions, by their ids."""
    return f"millrace:sessions:{user}"


def cache(scope: str) -> str:
    """A hash of what reads keep of a scope (`jobs.kernel.effects.scope`)."""
    return f"millrace:cache:{scope}"


def stats(name: str) -> str:
    return f"millrace:stats:{name}"


def rate(name: str, bucket: int) -> str:
    """A hash of the jobs of a queue that became final within ten seconds, by their states. `bucket`: seconds since 1970 // 10."""
    return f"millrace:rate:{name}:{bucket}"


def circuit(name: str) -> str:
    """A hash of what is known of a service: its circuit, and its rate. Keys that begin with it belong to it."""
    return f"millrace:circuit:{name}"
