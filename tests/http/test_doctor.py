"""The doctor, on real servers with something wrong about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import click.testing
import pytest
from flask import Flask
from redis import Redis

from config import Settings
from jobs.kernel import acl, keys
from local.postgres import READER, WRITER, Postgres
from tests.http.test_operations_cli import run_of
from tests.http.test_queues import waits
from tests.road import Road

Finding = dict[str, str]
Examine = Callable[..., dict[str, Finding]]

USUAL = {
    *("configuration.public_url", "configuration.limits", "postgresql.durability", "scheduler"),
    *(
        f"workers.{queue}"
        for queue in ("calls", "default", "deliveries", "events", "hangups", "orders", "tasks", "users")
    ),
}
"""What is wrong in any test: limits are off, PostgreSQL does not sync, and nobody works."""


@pytest.fixture
def examine(make_app: Callable[..., Flask]) -> Examine:
    """What is not as it should be beside what is usual, by name; `changes`: of the settings."""

    def found(**changes: Any) -> dict[str, Finding]:
        result = run_of(make_app(**changes))("doctor", "--json")
        document = json.loads(result.stdout)
        verdicts = {check["verdict"] for check in document["checks"]}
        assert document["status"] == "fail"
        assert (result.exit_code, verdicts <= {"ok", "warn", "fail"}) == (1, True)
        bad = {check["name"]: check for check in document["checks"] if check["verdict"] != "ok"}
        assert all(check["mend"].endswith(".") for check in bad.values())
        return {name: check for name, check in bad.items() if name not in USUAL}

    return found


def only(found: dict[str, Finding], name: str, verdict: str, said: str) -> None:
    assert {check["name"]: check["verdict"] for check in found.values()} == {name: verdict}
    assert said in found[name]["detail"]


def test_all_that_it_looks_at_is_told_once_under_a_name_that_stays(app: Flask) -> None:
    checks = json.loads(run_of(app)("doctor", "--json").stdout)["checks"]
    names = [check["name"] for check in checks]
    assert len(names) == len(set(names))
    assert [set(check) for check in checks] == [{"name", "verdict", "detail", "mend"}] * len(checks)
    subjects = (
        "mode",
        "secrets",
        "public_url",
        "origins",
        "limits",
        "databases",
        "redis_url",
        "calls",
        "events",
        "logs",
    )
    assert set(names) == USUAL | {f"configuration.{subject}" for subject in subjects} | {
        *("versions.python", "versions.libraries", "versions.postgresql", "versions.redis", "database", "migrations"),
        *("redis", "redis.durability", "redis.eviction", "redis.files", "redis.memory", "redis.users", "roles.api"),
        *(
            "roles.workers",
            "postgresql.replica",
            "clocks.postgresql",
            "clocks.redis",
            "queues.paused",
            "queues.waiting",
        ),
    }


def test_people_read_a_table_and_a_sum(app: Flask) -> None:
    result = run_of(app)("doctor")
    lines = result.output.splitlines()
    assert result.exit_code == 1
    assert [line.split()[0] for line in lines[1:-2]].count("fail") == 10
    assert lines[-1].endswith(", 10 fail.")
    (scheduler,) = (line for line in lines if " scheduler " in line)
    assert scheduler.endswith("Start one: python -m workers.scheduler.")


def test_nothing_is_wrong_beside_what_is_usual(examine: Examine) -> None:
    assert examine() == {}


@pytest.fixture
def redis_as(redis: Redis) -> Iterator[Callable[[str, str], None]]:
    """Configure Redis for the length of a test."""
    before: dict[str, str] = {}

    def configure(option: str, value: str) -> None:
        before.setdefault(option, redis.config_get(option)[option])
        redis.config_set(option, value)

    yield configure
    for option, value in before.items():
        redis.config_set(option, value)


@pytest.mark.parametrize(
    ("option", "value", "name", "verdict"),
    [
        ("appendfsync", "everysec", "redis.durability", "fail"),
        ("no-appendfsync-on-rewrite", "yes", "redis.files", "fail"),
        ("maxmemory-policy", "allkeys-lru", "redis.eviction", "fail"),
        ("maxmemory", "0", "redis.memory", "warn"),
        ("maxmemory", "300mb", "redis.memory", "warn"),
    ],
)
def test_a_redis_that_may_lose_or_refuse_what_comes_is_told(
    examine: Examine, redis_as: Callable[[str, str], None], option: str, value: str, name: str, verdict: str
) -> None:
    redis_as(option, value)
    only(examine(), name, verdict, "")


@pytest.mark.parametrize(
    ("ballast", "verdict"), [(60_000_000, "fail"), (45_000_000, "warn")], ids=["too much", "nearly too much"]
)
def test_a_redis_with_little_room_is_told(
    examine: Examine, redis: Redis, redis_as: Callable[[str, str], None], ballast: int, verdict: str
) -> None:
    redis_as("maxmemory", "64mb")
    redis.setrange("ballast", ballast, b"x")
    found = examine(max_queue_depth=1000)
    assert found.pop("redis", {"verdict": verdict})["verdict"] == verdict
    only(found, "redis.memory", verdict, "MiB used of 64 MiB")


@pytest.mark.parametrize(
    ("rule", "verdict", "said"),
    [
        ("-llen", "fail", "api lacks commands llen"),
        ("+flushall", "warn", "api may use commands beyond need: flushall"),
        ("~strangers", "warn", "api may use keys beyond need: strangers"),
        ("off", "fail", "api is switched off"),
    ],
)
def test_who_may_see_the_users_of_redis_is_told_what_is_wrong_with_them(
    examine: Examine, settings: Settings, redis: Redis, rule: str, verdict: str, said: str
) -> None:
    (user,) = (line.decode().split() for line in redis.execute_command("ACL", "LIST") if line.split()[1] == b"api")
    redis.execute_command("ACL", "SETUSER", "api", rule)
    try:
        only(examine(redis_url=settings.redis_url), "redis.users", verdict, said)
    finally:
        (password,) = (word for word in user if word.startswith("#"))
        redis.execute_command("ACL", "SETUSER", "api", "reset", "on", password, *str(acl.API).split())


def test_users_that_are_as_declared_are_found_to_be(make_app: Callable[..., Flask], settings: Settings) -> None:
    checks = json.loads(run_of(make_app(redis_url=settings.redis_url))("doctor", "--json").stdout)["checks"]
    (users,) = (check for check in checks if check["name"] == "redis.users")
    assert users["detail"] == "api and worker may do what is declared, and nothing else"


@pytest.mark.parametrize(
    ("wrong", "right", "name", "said"),
    [
        (f"GRANT INSERT ON orders TO {READER}", f"REVOKE INSERT ON orders FROM {READER}", "roles.api", "write orders"),
        (f"REVOKE SELECT ON tasks FROM {READER}", f"GRANT SELECT ON tasks TO {READER}", "roles.api", "not read tasks"),
        (f"REVOKE DELETE ON tasks FROM {WRITER}", f"GRANT DELETE ON tasks TO {WRITER}", "roles.workers", "write tasks"),
        (
            f"GRANT UPDATE ON alembic_version TO {WRITER}",
            f"REVOKE UPDATE ON alembic_version FROM {WRITER}",
            "roles.workers",
            "write alembic_version",
        ),
    ],
)
@pytest.mark.parametrize("told", [True, False], ids=["told of both roles", "told of its own"])
def test_a_role_that_may_do_too_much_or_too_little_is_told(
    examine: Examine, execute: Callable[..., Any], wrong: str, right: str, name: str, said: str, told: bool
) -> None:
    execute(wrong)
    try:
        only(examine(**({} if told else {"write_database_url": "", "database_url": ""})), name, "fail", said)
    finally:
        execute(right)


@pytest.mark.parametrize(
    ("whose", "name", "verdict"), [("read", "roles.api", "fail"), ("write", "roles.workers", "fail")]
)
def test_the_owner_in_the_place_of_a_role_of_its_own_is_told(
    examine: Examine, settings: Settings, whose: str, name: str, verdict: str
) -> None:
    only(examine(**{f"{whose}_database_url": settings.database_url}), name, verdict, "owns tables")


def test_one_role_for_everybody_is_a_warning(examine: Examine) -> None:
    found = examine(read_database_url="")
    assert {name: check["verdict"] for name, check in found.items()} == {
        "configuration.databases": "warn",
        "roles.api": "warn",
    }


def test_a_role_that_is_not_there_is_told(examine: Examine) -> None:
    only(examine(write_database_url="postgresql://nobody@127.0.0.1/x"), "roles.workers", "fail", "no role nobody")


def test_a_schema_that_is_behind_is_told(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.migrate.head", lambda: "9999")
    only(examine(), "migrations", "fail", "expects 9999")


def test_a_database_without_any_schema_is_told_with_no_trace(
    examine: Examine, postgres: Postgres, settings: Settings
) -> None:
    found = examine(read_database_url=postgres.create_database("doctors"))
    assert found["migrations"]["detail"] == "none was applied yet"
    assert "db upgrade" in found["migrations"]["mend"]


@pytest.mark.parametrize("ahead", [5, -5])
def test_clocks_that_are_apart_are_told(examine: Examine, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    from api.doctor_checks import clocks

    now = clocks.time.time
    monkeypatch.setattr(clocks, "time", SimpleNamespace(time=lambda: now() - ahead))
    found = examine()
    assert {name: check["verdict"] for name, check in found.items()} == {
        "clocks.redis": "warn",
        "clocks.postgresql": "warn",
    }
    way = "ahead of" if ahead > 0 else "behind"
    assert all(check["detail"] == f"5.0 s {way} this machine's" for check in found.values())


def test_queues_that_are_paused_or_late_are_told(examine: Examine, redis: Redis) -> None:
    redis.sadd(keys.PAUSED, "orders")
    for name, ago in (("orders", 7200), ("calls", 3600), ("tasks", 5)):
        waits(redis, keys.queue(name), ago)
    found = examine()
    assert {name: check["verdict"] for name, check in found.items()} == {
        "queues.paused": "warn",
        "queues.waiting": "warn",
    }
    assert found["queues.paused"]["mend"].endswith("flask --app api.app queues resume orders.")
    assert found["queues.waiting"]["detail"].startswith("jobs wait: calls for 3,60")
    assert found["queues.waiting"]["mend"].endswith("python -m workers --queues calls --threads 8.")


@pytest.mark.parametrize(
    ("away", "silent", "reason"),
    [
        ({"redis_url": "redis://:hunter2@127.0.0.1:1/0"}, "redis", "Connection refused"),
        ({"read_database_url": "postgresql://nobody:hunter2@127.0.0.1:1/none"}, "database", "Connection refused"),
    ],
    ids=["redis", "postgresql"],
)
def test_a_server_that_is_away_is_told_once_and_the_rest_as_ever(
    examine: Examine, road: Road, away: dict[str, str], silent: str, reason: str
) -> None:
    found = examine(**away)
    only(found, silent, "fail", "does not answer: ")
    assert reason in found[silent]["detail"]


def test_with_both_away_there_is_still_a_table(make_app: Callable[..., Flask]) -> None:
    app = make_app(redis_url="redis://127.0.0.1:1/0", read_database_url="postgresql://nobody@127.0.0.1:1/none")
    result: click.testing.Result = run_of(app)("doctor")
    assert result.exit_code == 1
    assert [line.split()[1] for line in result.output.splitlines() if line.startswith("fail")] == ["database", "redis"]
