"""What `/readyz` tells, with what mends it; and queues that are paused, or whose jobs wait for long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from api.doctor_checks import Finding, failure, fine, warning
from api.health import Check
from jobs.kernel.policy import QUEUES
from jobs.kernel.queues import QueueView

PATIENCE = 60
"""Seconds that the first in line may wait before workers count as too few."""

MENDS = {
    "database": "Start PostgreSQL, or mend READ_DATABASE_URL, then run this again for what it knows.",
    "migrations": "Apply them: flask --app api.app db upgrade && flask --app api.app roles sync.",
    "redis": "Start Redis, give it room, or mend REDIS_URL, then run this again for what it knows.",
    "redis.durability": "redis-cli CONFIG SET appendonly yes, CONFIG SET appendfsync always, then CONFIG REWRITE.",
    "scheduler": "Start one: python -m workers.scheduler.",
}


def readiness(checks: Iterable[Check], reasons: Mapping[str, str]) -> Iterator[Finding]:
    """What readiness has found. What nobody can know while a server is away is left out. `reasons`: why one is, by the name
    of its check, which readiness tells nobody."""
    for name, ok, detail in checks:
        if detail.startswith("not known while"):
            continue
        if not ok:
            told = f"{detail}: {reasons[name]}" if name in reasons else detail
            yield failure(name, told, MENDS.get(name) or f"Start one: {_worker(name.removeprefix('workers.'))}.")
        elif detail.startswith("not known"):
            yield warning(name, detail, "Run this once with a REDIS_URL of its administrator.")
        else:
            yield fine(name, detail)


def queues(views: Iterable[QueueView]) -> Iterator[Finding]:
    """Of all queues together: which are paused, and which have waited for too long."""
    views = list(views)
    if paused := [queue.name for queue in views if queue.paused]:
        mend = f"When its jobs may go on: flask --app api.app queues resume {paused[0]}."
        yield warning("queues.paused", f"workers leave alone: {', '.join(paused)}", mend)
    else:
        yield fine("queues.paused", "none is")
    ages = {queue.name: queue.oldest_age_seconds or 0 for queue in views if not queue.paused}
    if late := {name: age for name, age in ages.items() if age > PATIENCE}:
        told = ", ".join(f"{name} for {age:,.0f} s" for name, age in late.items())
        yield warning("queues.waiting", f"jobs wait: {told}", f"Start more workers: {_worker(next(iter(late)))}.")
    else:
        yield fine("queues.waiting", f"nothing has waited for {PATIENCE} s")


def _worker(queue: str) -> str:
    return f"python -m workers --queues {queue}" + (" --threads 8" if QUEUES[queue] == "threads" else "")
