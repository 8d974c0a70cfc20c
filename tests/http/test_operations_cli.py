"""Queues and workers from the command line: for people, for programs, and where Redis is away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click.testing
import pytest
from flask import Flask
from redis import Redis

from api.queue_schemas import Queue
from jobs.kernel import keys
from jobs.kernel.policy import QUEUES
from tests.road import Road
from workers.leases import Leases
from workers.registration import Registration

AWAY = "redis://:hunter2@127.0.0.1:1/0"
NEVER = "2026-01-31T09:30:00.000000Z"

Run = Callable[..., click.testing.Result]


def run_of(app: Flask) -> Run:
    """Run `flask …`; nobody sees a trace, or a password."""

    def invoke(*args: str) -> click.testing.Result:
        result = app.test_cli_runner().invoke(args=args)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "hunter2" not in result.output
        return result

    return invoke


@pytest.fixture
def run(app: Flask) -> Run:
    return run_of(app)


def rows(result: click.testing.Result) -> list[list[str]]:
    """The cells of a table, without its head; columns are two spaces apart."""
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines()[1:]]


def document(result: click.testing.Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_queues_are_listed_for_people_and_for_programs(run: Run, road: Road) -> None:
    road.order("c")
    assert [row[0] for row in rows(run("queues", "list"))] == list(QUEUES)
    found = document(run("queues", "list", "--json"))
    assert [Queue.model_validate(row).name for row in found["data"]] == list(QUEUES)
    assert {row["name"]: row["depth"] for row in found["data"]} == dict.fromkeys(QUEUES, 0) | {"orders": 1}
    assert found["meta"] == {"scheduled": 0}


def test_what_the_api_pauses_the_command_line_resumes(run: Run, road: Road, redis: Redis) -> None:
    road.order("c")
    for _ in range(2):
        (paused,) = rows(run("queues", "pause", "orders"))
        assert paused[:3] == ["orders", "batch", "paused"]
    assert redis.smembers(keys.PAUSED) == {b"orders"}
    assert road.work() == 0
    for _ in range(2):
        found = document(run("queues", "resume", "orders", "--json"))
        assert (found["name"], found["paused"], found["depth"]) == ("orders", False, 1)
    assert road.work() == 1


@pytest.mark.parametrize("args", [("queues", "pause", "nowhere"), ("queues", "resume"), ("workers", "list", "x")])
def test_a_wrong_command_line_is_told_from_a_failure(run: Run, args: tuple[str, ...], redis: Redis) -> None:
    result = run(*args)
    assert (result.exit_code, result.output.startswith("Usage: ")) == (2, True)
    assert redis.exists(keys.PAUSED) == 0


def test_workers_are_listed_with_what_they_hold_and_have_done(run: Run, road: Road, redis: Redis) -> None:
    for name in ("host-7-ab", "host-8-cd"):
        Registration(road.redis, ["orders", "tasks"], name).sign_on()
    redis.hset(keys.worker("host-8-cd"), "last_heartbeat", NEVER)
    leases = Leases(road.redis, road.settings, "host-7-ab")
    for number in range(3):
        road.order(f"c{number}")
    deliveries = leases.reserve(["orders"], 3)
    first, second = document(run("workers", "list", "--json"))["data"]
    assert (first["name"], first["state"], first["leases"]) == ("host-7-ab", "busy", 3)
    assert (first["queues"], first["succeeded"], first["failed"]) == (["orders", "tasks"], 0, 0)
    assert (second["name"], second["state"], second["leases"], second["heard_at"]) == ("host-8-cd", "dead", 0, NEVER)
    leases.settle(road.execute(deliveries))
    (done, _) = rows(run("workers", "list"))
    assert done[:3] == ["host-7-ab", "orders,tasks", "idle"]
    assert document(run("workers", "list", "--json"))["data"][0]["succeeded"] == 3


def test_a_worker_that_begins_forgets_those_who_were_killed(road: Road, redis: Redis) -> None:
    for name in ("killed", "begins"):
        Registration(road.redis, ["orders", "tasks"], name).sign_on()
        redis.delete(keys.worker("killed"))
    assert redis.smembers("rq:workers:orders") == redis.smembers("rq:workers:tasks") == {b"rq:worker:begins"}


def test_without_workers_it_is_said_how_to_start_one(run: Run) -> None:
    assert run("workers", "list").output == "No worker is registered. `python -m workers` starts one.\n"
    assert document(run("workers", "list", "--json")) == {"data": []}


def test_what_a_worker_says_of_itself_is_shown_and_not_obeyed(run: Run, road: Road, redis: Redis) -> None:
    Registration(road.redis, ["orders"], "w").sign_on()
    redis.hset(keys.worker("w"), mapping={"hostname": "[red]\x1b[2J", "pid": "x"})
    ((*_, host, pid),) = rows(run("workers", "list"))
    assert (host, pid) == ("[red]\N{REPLACEMENT CHARACTER}[2J", "-")


@pytest.mark.parametrize("args", [("queues", "list"), ("queues", "pause", "orders"), ("workers", "list")])
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["table", "json"])
def test_without_redis_that_is_said_in_a_sentence(
    make_app: Callable[..., Flask], args: tuple[str, ...], more: tuple[str, ...]
) -> None:
    result = run_of(make_app(redis_url=AWAY))(*args, *more)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: Redis cannot be reached, or refuses. ")
    assert len(result.stderr.splitlines()) == 1
