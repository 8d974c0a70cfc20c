"""Whether the process lives, and whether the service can do its work (CONTRACT.md §9). Neither is counted or private."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask
from redis import Redis
from sqlalchemy.exc import SQLAlchemyError

from api.documented import documented
from api.schemas import Health, Readiness
from api.services import Services, services
from jobs.kernel import broker, registry
from jobs.kernel.fleet import Fleet
from models import migrate
from models.session import Sessions

FRESH = {"Cache-Control": "no-store"}
SCHEDULER_LOCK = "rq:scheduler_lock"

NEVER_THERE = "millrace:never-there"
"""A key that is set only where it exists, which it never does: nothing is written, but Redis refuses that like any write."""

REFUSALS = {
    "maxmemory": "its memory is full",
    "read only": "it is a read-only replica",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "it has too few replicas to write",
}
"""What it means when Redis refuses a write, by what then stands in its answer."""

DURABLE = {"appendonly": "yes", "appendfsync": "always"}

SILENT = "does not answer"
"""What is said of a server that is away; of what it alone knows, then, that it is not known."""

Check = tuple[str, bool, str]
"""What was looked at, whether it is as it should be, and a sentence about it."""


def register(app: Flask) -> None:
    app.add_url_rule("/healthz", "health.alive", alive, methods=["GET"])
    app.add_url_rule("/readyz", "health.ready", ready, methods=["GET"])


@documented("Whether this process answers", response=Health, tag="system")
def alive() -> tuple[dict[str, Any], dict[str, str]]:
    """Looks at nothing else: a process that cannot reach its stores need not be restarted for it."""
    return {"status": "ok"}, FRESH


@documented(
    "Whether the service can do its work",
    description="503 only when this process can neither accept writes nor read; `degraded` says what else is wrong.",
    response=Readiness,
    others={503: Readiness},
    tag="system",
)
def ready() -> tuple[dict[str, Any], int, dict[str, str]]:
    """What writes and reads depend on."""
    found = checks(services())
    good = {name: ok for name, ok, _ in found}
    useless = not good["database"] and not good["redis"]
    status = "unavailable" if useless else "ok" if all(good.values()) else "degraded"
    shown = {name: {"ok": ok, "detail": detail} for name, ok, detail in found}
    return {"status": status, "checks": shown}, 503 if useless else 200, FRESH


def checks(bundle: Services) -> list[Check]:
    """All that readiness looks at."""
    return [*_database(bundle.readers), *_queue(bundle.redis, bundle.fleet, bundle.settings.max_memory_percent)]


def _database(sessions: Sessions) -> Iterator[Check]:
    """PostgreSQL answers, and has the schema this code was written for."""
    head = migrate.head()
    try:
        with sessions() as session:
            applied = migrate.applied(session)
    except SQLAlchemyError as away:
        missing = migrate.is_missing(away)
        yield "database", missing, "answers" if missing else SILENT
        yield "migrations", False, "none was applied yet" if missing else "not known while the database is away"
        return
    yield "database", True, "answers"
    yield "migrations", applied == head, "at head" if applied == head else f"at {applied}, and the code expects {head}"


def _queue(redis: Redis, fleet: Fleet, max_percent: int) -> Iterator[Check]:
    """Redis takes writes and keeps them, every queue that a kind uses has a live worker, and a scheduler acts."""
    queues = sorted({kind.policy.queue for kind in registry.every()})
    try:
        stores = list(_store(redis, max_percent))
        alive = fleet.alive()
        scheduling = bool(redis.exists(SCHEDULER_LOCK))
    except (*broker.LOST, broker.ResponseError):
        yield "redis", False, SILENT
        for name in ["redis.durability", *(f"workers.{queue}" for queue in queues), "scheduler"]:
            yield name, False, "not known while Redis is away"
        return
    yield from stores
    for queue in queues:
        workers = alive[queue]
        yield f"workers.{queue}", workers > 0, f"{workers} alive" if workers else "none alive: jobs wait"
    yield "scheduler", scheduling, "alive" if scheduling else "none alive: scheduled jobs wait"


def _store(redis: Redis, max_percent: int) -> Iterator[Check]:
    """Redis takes writes, and does not lose what it took (DESIGN.md §3). One round trip."""
    asked = redis.pipeline(transaction=False)
    asked.set(NEVER_THERE, "", xx=True)
    asked.info("memory")
    asked.config_get("append*")
    probe, memory, config = asked.execute(raise_on_error=False)
    refused = _refusal(probe, memory, max_percent)
    yield "redis", refused is None, f"answers, but {refused}" if refused else "answers"
    if isinstance(config, Exception):
        yield "redis.durability", True, "not known: it does not tell its configuration"
        return
    wrong = [f"{name} is {config.get(name)}" for name, needed in DURABLE.items() if config.get(name) != needed]
    detail = f"{', '.join(wrong)}: accepted writes can be lost" if wrong else "accepted writes are on disk"
    yield "redis.durability", not wrong, detail


def _refusal(probe: object, memory: object, max_percent: int) -> str | None:
    """Why it takes no writes, if it does not: `probe` and `memory` are what it answered to SET and INFO."""
    if isinstance(probe, Exception):
        said = f"{type(probe).__name__} {probe}"
        return next((why for sign, why in REFUSALS.items() if sign in said), "it refuses writes")
    if isinstance(memory, dict) and memory["used_memory"] * 100 > memory["maxmemory"] * max_percent > 0:
        return f"over {max_percent} % of its memory is used: new writes are refused"
    return None
