"""Health: alive, and what readiness says of the stores, the migrations, the workers and the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from flask import Flask
from rq.utils import utcformat
from rq_scheduler import Scheduler

from api import health
from api.schemas import Readiness
from config import Settings
from jobs.kernel import broker
from models import migrate
from tests.http.conftest import Client
from tests.processes import until

AWAY = {"database": "postgresql://nobody:secret@127.0.0.1:1/none", "redis": "redis://:secret@127.0.0.1:1/0"}

OTHERS = ("calls", "default", "deliveries", "events", "hangups", "tasks", "users")
"""Queues that have kinds, beside `orders`."""


@pytest.fixture
def beat(settings: Settings) -> Any:
    """Register a worker of `orders` or of another queue, as RQ does, last heard of so many seconds ago; and those of all
    other queues, who are well."""
    redis = broker.connect(settings.redis_url)

    def worker(seconds_ago: float = 0, *, queue: str = "orders", **more: str) -> None:
        well = ((f"well-{other}", 0, other, {}) for other in OTHERS)
        for name, ago, of, said in (("w", seconds_ago, queue, more), *well):
            heard = utcformat((datetime.now(UTC) - timedelta(seconds=ago)).replace(tzinfo=None))
            redis.hset(f"rq:worker:{name}", mapping={"birth": heard, "last_heartbeat": heard, **said})
            redis.sadd(f"rq:workers:{of}", f"rq:worker:{name}")
        redis.set(health.SCHEDULER_LOCK, "token", ex=60)

    yield worker
    redis.close()


def ready(client: Client, *, status: int = 200) -> dict[str, Any]:
    began = monotonic()
    answer = client.get("/readyz")
    assert monotonic() - began < 5
    assert answer.status_code == status
    assert answer.headers["Cache-Control"] == "no-store"
    assert b"secret" not in answer.get_data()
    Readiness.model_validate_json(answer.get_data())
    return answer.get_json()


def test_a_process_that_answers_is_alive(nobody: Client) -> None:
    answer = nobody.get("/healthz")
    assert (answer.status_code, answer.get_json()) == (200, {"status": "ok"})


def test_it_is_alive_without_its_stores(make_app: Callable[..., Flask]) -> None:
    app = make_app(read_database_url=AWAY["database"], redis_url=AWAY["redis"])
    assert Client(app).get("/healthz").status_code == 200


def test_all_well_is_ok(nobody: Client, beat: Any) -> None:
    beat()
    found = ready(nobody)
    assert found["status"] == "ok"
    stores = {"database", "migrations", "redis", "redis.durability"}
    workers = {f"workers.{queue}" for queue in ("orders", *OTHERS)}
    assert set(found["checks"]) == stores | workers | {"scheduler"}
    assert all(check["ok"] for check in found["checks"].values())


@pytest.mark.parametrize(
    "worker",
    [
        {"seconds_ago": 120},
        {"death": "2026-01-31T12:00:00.000000Z"},
        {"queue": "deliveries"},
        {"last_heartbeat": "rubbish"},
    ],
)
def test_a_queue_without_a_live_worker_is_degraded(worker: dict[str, Any], nobody: Client, beat: Any) -> None:
    beat(**worker)
    found = ready(nobody)
    assert found["status"] == "degraded"
    assert [name for name, check in found["checks"].items() if not check["ok"]] == ["workers.orders"]


def test_no_scheduler_is_degraded(nobody: Client, beat: Any, settings: Settings) -> None:
    beat()
    redis = broker.connect(settings.redis_url)
    redis.delete(health.SCHEDULER_LOCK)
    redis.close()
    assert [name for name, check in ready(nobody)["checks"].items() if not check["ok"]] == ["scheduler"]


def test_the_schedulers_lock_is_the_one_it_holds() -> None:
    assert Scheduler.scheduler_lock_key == health.SCHEDULER_LOCK


def test_a_schema_behind_the_code_is_degraded(nobody: Client, beat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    beat()
    head = migrate.head()
    monkeypatch.setattr("models.migrate.head", lambda: "9999")
    found = ready(nobody)
    assert found["status"] == "degraded"
    assert found["checks"]["migrations"] == {"ok": False, "detail": f"at {head}, and the code expects 9999"}


def test_a_database_without_any_schema_is_degraded(make_app: Any, postgres: Any, beat: Any) -> None:
    beat()
    app = make_app(read_database_url=postgres.create_database("unmigrated"))
    found = ready(Client(app))
    assert found["checks"]["database"]["ok"]
    assert found["checks"]["migrations"] == {"ok": False, "detail": "none was applied yet"}


@pytest.fixture
def redis_as(settings: Settings) -> Iterator[Callable[..., None]]:
    """Configure Redis for the length of a test."""
    redis = broker.connect(settings.redis_url, timeout=5)
    before: dict[str, str] = {}

    def configure(**wanted: str) -> None:
        for name, value in wanted.items():
            option = name.replace("_", "-")
            before.setdefault(option, redis.config_get(option)[option])
            redis.config_set(option, value)

    yield configure
    for option, value in before.items():
        redis.config_set(option, value)
    redis.close()


def failing(found: dict[str, Any]) -> dict[str, str]:
    """What is not as it should be, and why."""
    return {name: check["detail"] for name, check in found["checks"].items() if not check["ok"]}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"maxmemory": "100kb"}, "answers, but its memory is full"),
        ({"min_replicas_to_write": "1"}, "answers, but it has too few replicas to write"),
    ],
)
def test_a_redis_that_refuses_writes_is_degraded(
    nobody: Client, beat: Any, redis_as: Callable[..., None], options: dict[str, str], why: str
) -> None:
    beat()
    redis_as(**options)
    found = ready(nobody)
    assert (found["status"], failing(found)) == ("degraded", {"redis": why})


def test_a_redis_with_little_memory_left_is_degraded(
    nobody: Client, beat: Any, redis_as: Callable[..., None], settings: Settings
) -> None:
    beat()
    redis = broker.connect(settings.redis_url)
    redis.setrange("ballast", 30_000_000, b"x")  # beside which a connection more or less does not count
    redis_as(maxmemory=str(int(redis.info("memory")["used_memory"] * 100 / (settings.max_memory_percent + 10))))
    redis.close()
    found = ready(nobody)
    assert (found["status"], list(failing(found))) == ("degraded", ["redis"])
    assert "new writes are refused" in failing(found)["redis"]


def test_a_redis_that_is_a_replica_is_degraded(nobody: Client, beat: Any, settings: Settings) -> None:
    beat()
    redis = broker.connect(settings.redis_url, timeout=5)
    redis.replicaof("127.0.0.1", 1)
    try:
        assert failing(ready(nobody)) == {"redis": "answers, but it is a read-only replica"}
    finally:
        redis.replicaof("NO", "ONE")
        redis.close()
    assert ready(nobody)["status"] == "ok"


def test_a_redis_that_cannot_write_to_its_disk_is_degraded(
    nobody: Client, beat: Any, redis_as: Callable[..., None], settings: Settings, redis_server: Any
) -> None:
    beat()
    redis = broker.connect(settings.redis_url, timeout=5)
    in_the_way = redis_server.folder / "dump.rdb" / "not-empty"
    in_the_way.mkdir(parents=True)
    redis_as(save="3600 1")
    redis.bgsave()
    until(lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "err", 10)
    redis.close()
    try:
        assert failing(ready(nobody)) == {"redis": "answers, but it cannot write to its disk"}
    finally:
        in_the_way.rmdir()
        in_the_way.parent.rmdir()


@pytest.mark.parametrize(("option", "value"), [("appendfsync", "everysec"), ("appendonly", "no")])
def test_a_redis_that_may_lose_writes_is_degraded(
    nobody: Client, beat: Any, redis_as: Callable[..., None], option: str, value: str
) -> None:
    beat()
    redis_as(**{option: value})
    found = ready(nobody)
    assert found["status"] == "degraded"
    assert failing(found) == {"redis.durability": f"{option} is {value}: accepted writes can be lost"}


def test_a_redis_that_hides_its_configuration_is_no_worse(
    make_app: Callable[..., Flask], beat: Any, settings: Settings
) -> None:
    beat()
    redis = broker.connect(settings.redis_url, timeout=5)
    redis.acl_setuser("limited", enabled=True, passwords=["+word"], keys=["*"], commands=["+@all", "-config"])
    try:
        address = settings.redis_url.partition("@")[2]
        found = ready(Client(make_app(redis_url=f"redis://limited:word@{address}")))
    finally:
        redis.acl_deluser("limited")
        redis.close()
    assert found["status"] == "ok"
    assert found["checks"]["redis.durability"]["detail"].startswith("not known")


def test_with_neither_writes_nor_reads_it_is_unavailable(
    make_app: Callable[..., Flask], redis_as: Callable[..., None]
) -> None:
    redis_as(min_replicas_to_write="1")
    assert ready(Client(make_app(read_database_url=AWAY["database"])), status=503)["status"] == "unavailable"


def test_without_redis_it_still_reads_and_is_degraded(make_app: Callable[..., Flask]) -> None:
    found = ready(Client(make_app(redis_url=AWAY["redis"])))
    assert found["status"] == "degraded"
    assert found["checks"]["database"]["ok"]
    assert not found["checks"]["redis"]["ok"]


def test_without_postgresql_it_still_accepts_and_is_degraded(make_app: Callable[..., Flask], beat: Any) -> None:
    beat()
    found = ready(Client(make_app(read_database_url=AWAY["database"])))
    assert found["status"] == "degraded"
    assert [name for name, check in found["checks"].items() if not check["ok"]] == ["database", "migrations"]


def test_with_neither_it_is_unavailable(make_app: Callable[..., Flask]) -> None:
    app = make_app(read_database_url=AWAY["database"], redis_url=AWAY["redis"])
    assert ready(Client(app), status=503)["status"] == "unavailable"


def test_readiness_is_not_rate_limited(make_app: Callable[..., Flask]) -> None:
    client = Client(make_app(rate_limit_user="1/minute"))
    for _ in range(5):
        answer = client.get("/readyz")
        assert answer.status_code == 200
        assert "X-RateLimit-Limit" not in answer.headers
