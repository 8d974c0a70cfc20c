"""Redis: that it keeps what it has accepted, has room for more, and lets nobody do more than they need (DESIGN.md §3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from redis import Redis

from api.doctor_checks import Finding, failure, fine, redis_users, versions, warning
from api.doctor_checks.clocks import clock
from config import Settings

JOB_BYTES = 600
"""Of a queued job without much of a body (docs/how-to/size.md)."""

NEAR = 0.75
"""Of the memory that writes may use: time to make more of it."""

HIDDEN = "not known: it does not tell its configuration to this user"
AS_ADMINISTRATOR = "Run this once with a REDIS_URL of its administrator."


def redis(client: Redis, settings: Settings) -> Iterator[Finding]:
    """What this process's user can see. Raises one of `broker.LOST`, or ResponseError."""
    asked = client.pipeline(transaction=False)
    for section in ("server", "memory", "persistence"):
        asked.info(section)
    for option in ("maxmemory-policy", "no-appendfsync-on-rewrite"):
        asked.config_get(option)
    server, memory, kept, policy, rewriting = asked.execute(raise_on_error=False)
    if isinstance(server, Exception):
        raise server
    yield versions.redis(str(server["redis_version"]))
    yield _eviction(policy)
    yield _files(kept, rewriting)
    yield _memory(memory, settings)
    yield redis_users.users(client, settings.redis_url)
    yield clock("redis", lambda: _now(client))


def _now(client: Redis) -> float:
    seconds, micros = client.time()
    return float(seconds + micros / 1_000_000)


def _eviction(policy: object) -> Finding:
    name = "redis.eviction"
    if not isinstance(policy, dict):
        return warning(name, HIDDEN, AS_ADMINISTRATOR)
    if (found := policy.get("maxmemory-policy")) == "noeviction":
        return fine(name, "nothing is thrown away when its memory is full")
    mend = "redis-cli CONFIG SET maxmemory-policy noeviction, then CONFIG REWRITE."
    return failure(name, f"maxmemory-policy is {found}: jobs are thrown away when its memory is full", mend)


def _files(kept: Mapping[str, Any], rewriting: object) -> Finding:
    """Beside `appendonly` and `appendfsync`, which readiness looks at."""
    name = "redis.files"
    bad = [what for what in ("aof_last_write_status", "aof_last_bgrewrite_status") if kept.get(what, "ok") != "ok"]
    if bad:
        return failure(name, f"{', '.join(bad)} is not ok", "Make room on its disk, then: redis-cli BGREWRITEAOF.")
    if isinstance(rewriting, dict) and rewriting.get("no-appendfsync-on-rewrite") == "yes":
        mend = "redis-cli CONFIG SET no-appendfsync-on-rewrite no, then CONFIG REWRITE."
        return failure(name, "while it rewrites its file, accepted writes can be lost", mend)
    return fine(name, "its file was written and rewritten without an error")


def _memory(memory: Mapping[str, Any], settings: Settings) -> Finding:
    name, used, most = "redis.memory", int(memory["used_memory"]), int(memory["maxmemory"])
    told = f"{_mebibytes(used)} used"
    if not most:
        mend = "redis-cli CONFIG SET maxmemory 1gb, or what the machine can spare, then CONFIG REWRITE."
        return warning(name, f"{told}, without a bound: MAX_MEMORY_PERCENT says nothing", mend)
    share = most * settings.max_memory_percent // 100
    told += f" of {_mebibytes(most)}; writes are refused from {_mebibytes(share)} on"
    if used > share:
        return failure(name, told, "Start more workers, which drain it, or raise maxmemory by redis-cli CONFIG SET.")
    if used > share * NEAR:
        return warning(name, told, "Start more workers, which drain it, or raise maxmemory by redis-cli CONFIG SET.")
    if (wanted := settings.max_queue_depth * JOB_BYTES) > share:
        mend = f"Raise maxmemory, or set MAX_QUEUE_DEPTH={share // JOB_BYTES}."
        return warning(name, f"{told}, but MAX_QUEUE_DEPTH jobs take {_mebibytes(wanted)}", mend)
    return fine(name, told)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
