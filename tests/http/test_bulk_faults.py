"""Bulks while Redis or PostgreSQL goes away, a session ends, or our own code is wrong: what was accepted is told (CONTRACT.md §1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from flask import Flask
from psutil import Process
from redis import Redis as RedisClient

from api.services import NAME
from config import Settings
from jobs.kernel import keys, registry
from jobs.kernel.command import Command
from jobs.kernel.envelope import Job
from jobs.kernel.policy import Policy
from local.postgres import Postgres
from local.redis import Redis
from tests.conftest import Person
from tests.http.bulks import NDJSON, Line, bulk, ids, place, post, refusal, statuses
from tests.http.conftest import Client, token_of
from tests.http.serving import served
from tests.processes import until
from tests.road import Road

Trap = Callable[[Callable[[], object]], Line]
traps: dict[str, Callable[[], object]] = {}


class Sprung(Command, kind="test.sprung", route="POST /v1/test/traps", policy=Policy("default")):
    """Have something happen while a line is looked at."""

    trap: str

    def check(self, settings: Settings) -> None:
        traps[self.trap]()

    def handle(self, ctx: Any, job: Job[Any]) -> Any:
        return {}


registry.remove(Sprung)


@pytest.fixture
def trap() -> Iterator[Trap]:
    """A line that makes something happen, between the lines before it and those after it."""
    registry.add(Sprung)

    def make(spring: Callable[[], object]) -> Line:
        name = str(len(traps))
        traps[name] = spring
        return {"kind": "test.sprung", "body": {"trap": name}}

    yield make
    registry.remove(Sprung)


@pytest.fixture(params=["killed", "hung"])
def redis_goes(redis_server: Redis, request: pytest.FixtureRequest) -> Iterator[Callable[[bool], None]]:
    """Take Redis away, in one way or the other, and give it back."""
    process = Process(redis_server.pid)

    def goes(away: bool) -> None:
        if request.param == "hung":
            (process.suspend if away else process.resume)()
        elif away and redis_server.pid is not None:
            redis_server.kill()
        elif not away and redis_server.pid is None:
            redis_server.start()

    yield goes
    goes(False)


def keyed(start: int, stop: int) -> list[Line | bytes]:
    return [place(f"customer-{number}", idempotency_key=f"key-{number}") for number in range(start, stop)]


def assert_unavailable(answer: Any, code: str) -> None:
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (503, code), answer.text
    assert answer.content_type == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1


def test_without_redis_a_bulk_is_503_within_a_second(user: Client, redis_goes: Callable[[bool], None]) -> None:
    redis_goes(True)
    for lines in (keyed(0, 1), [place(str(number)) for number in range(1000)], [b"{"]):
        began = monotonic()
        answer = post(user, lines)
        assert monotonic() - began < 1
        assert_unavailable(answer, "queue_unavailable")
    redis_goes(False)
    until(lambda: post(user, keyed(0, 3)).status_code == 200, 5)


def test_a_redis_that_goes_before_any_line_was_accepted_is_503_for_all(
    user: Client, redis_goes: Callable[[bool], None], trap: Trap, redis: RedisClient
) -> None:
    lines = [b"{", *keyed(0, 50), trap(lambda: redis_goes(True)), *keyed(50, 300)]
    began = monotonic()
    answer = post(user, lines)
    assert monotonic() - began < 5 * 1.0
    assert_unavailable(answer, "queue_unavailable")
    redis_goes(False)
    assert len(ids(bulk(user, keyed(0, 300)))) == 300
    assert redis.llen(keys.queue("orders")) == 300


def test_a_redis_that_goes_half_way_leaves_what_was_accepted_and_names_the_rest(
    user: Client, redis_goes: Callable[[bool], None], trap: Trap, redis: RedisClient
) -> None:
    lines = [*keyed(0, 250), trap(lambda: redis_goes(True)), *keyed(250, 300), b"{", *keyed(300, 998)]
    began = monotonic()
    outcomes = bulk(user, lines)
    assert monotonic() - began < 4, "it is not asked again for each hundred of the rest"
    assert statuses(outcomes) == [202] * 200 + [503] * 101 + [400] + [503] * 698
    unsure = [one["error"] for one in outcomes[200:] if one["status"] == 503]
    assert {error["code"] for error in unsure} == {"queue_unavailable"}
    assert all(error["retry_after"] >= 1 and UUID(error["job_id"]) for error in unsure)
    named = [one["job"]["id"] if one["status"] == 202 else one["error"].get("job_id") for one in outcomes]
    del named[250], named[300]
    redis_goes(False)
    again = bulk(user, keyed(0, 998))
    assert ids(again) == named
    assert [one.get("replayed", False) for one in again[:200]] == [True] * 200
    assert not any(one.get("replayed") for one in again[300:])
    assert redis.llen(keys.queue("orders")) == 998


@pytest.fixture
def postgres_away(app: Flask, postgres: Postgres) -> Iterator[Callable[[], None]]:
    """Take PostgreSQL away when called; give it back at the end."""
    yield lambda: postgres.stop("immediate")
    if postgres.pid is None:
        postgres.start()


def test_without_postgresql_creates_go_on_and_lines_that_need_a_look_are_503(
    user: Client, order_of: Callable[[str], str], postgres_away: Callable[[], None]
) -> None:
    lines = [place("a"), place("b", idempotency_key="k")]
    lines += [{"kind": "orders.delete", "target": order_of("user")}]
    lines += [{"kind": "orders.delete", "target": order_of("user"), "idempotency_key": "d"}]
    first = bulk(user, lines[:2])
    postgres_away()
    outcomes = bulk(user, lines)
    assert statuses(outcomes) == [202, 202, 503, 503]
    assert {refusal(one) for one in outcomes[2:]} == {(503, "database_unavailable")}
    assert all(one["error"]["retry_after"] >= 1 for one in outcomes[2:])
    assert (outcomes[1]["job"]["id"], outcomes[1]["replayed"]) == (first[1]["job"]["id"], True)


def test_a_repeat_that_may_be_final_is_503_without_postgresql(
    user: Client, road: Road, postgres_away: Callable[[], None]
) -> None:
    bulk(user, keyed(0, 1))
    road.reserve()
    postgres_away()
    outcomes = bulk(user, keyed(0, 3))
    assert refusal(outcomes[0]) == (503, "database_unavailable")
    assert statuses(outcomes[1:]) == [202, 202]


def test_a_postgresql_that_hangs_is_waited_for_once(
    settings: Settings, tmp_path: Path, app: Flask, people: dict[str, Person], postgres: Postgres
) -> None:
    """And meanwhile keeps nobody else's write from being accepted."""
    mine = {"Authorization": f"Bearer {token_of(app, people['user'])}"}
    lines = "\n".join(
        f'{{"kind": "orders.delete", "target": "{uuid4()}"}}\n{{"kind": "events.record", "body": {{"name": "n"}}}}'
        for _ in range(200)
    )
    postmaster = Process(postgres.pid)
    stopped = [postmaster, *postmaster.children(recursive=True)]
    few = settings.model_copy(update={"max_in_flight": 2})
    with served(few, tmp_path) as web, ThreadPoolExecutor(4) as threads:
        for process in stopped:
            process.suspend()
        try:
            sending = [
                threads.submit(web.post, "/v1/bulk", data=lines, headers=mine | {"Content-Type": NDJSON}, timeout=60)
                for _ in range(4)
            ]
            for _ in range(15):  # all of them wait for it, for two seconds at least
                event = requests.post(web.url("/v1/events"), json={"name": "n"}, headers=mine, timeout=30)
                assert event.status_code == 202, event.text
                sleep(0.1)
            assert not any(one.done() for one in sending)
            wait(sending)
        finally:
            for process in reversed(stopped):
                process.resume()
        for one in sending:
            answer = one.result()
            assert answer.text.count('{"status":202') == answer.text.count('"code":"database_unavailable"') == 200
        looks = [line for line in web.lines() if '"event":"database_unavailable"' in line]
        assert len(looks) == 4, "one for each bulk, and not for each hundred of its lines"


def test_a_defect_of_ours_costs_its_own_line(user: Client, trap: Trap) -> None:
    def fall() -> None:
        raise RuntimeError("nobody foresaw this")

    outcomes = bulk(user, [place("a"), trap(fall), place("b")])
    assert statuses(outcomes) == [202, 500, 202]
    assert refusal(outcomes[1]) == (500, "internal_error")
    assert "foresaw" not in str(outcomes)


def test_a_session_that_ends_half_way_ends_the_rest(
    app: Flask, user: Client, people: dict[str, Person], trap: Trap, redis: RedisClient
) -> None:
    own = app.extensions[NAME]

    def sign_out() -> None:
        for session in own.sessions.of(people["user"].id):
            own.sessions.end(people["user"].id, session.id, asked_in=str(session.id))

    outcomes = bulk(user, [*keyed(0, 150), trap(sign_out), *keyed(150, 250)])
    assert statuses(outcomes) == [202] * 100 + [401] * 151
    assert refusal(outcomes[100]) == (401, "session_ended")
    assert redis.llen(keys.queue("orders")) == 100
    assert post(user, keyed(0, 1)).status_code == 401


def test_others_are_served_while_a_bulk_is_read(
    settings: Settings, tmp_path: Path, app: Flask, people: dict[str, Person]
) -> None:
    """A thousand lines of 8 KB, of which each takes long to say what is wrong with it, and none is ever submitted."""
    mine = {"Authorization": f"Bearer {token_of(app, people['user'])}", "Content-Type": NDJSON}
    wrong = ",".join(f'"member-{number:03}": [[], {{}}, "{"x" * 40}"]' for number in range(110))
    body = "\n".join([f'{{"kind": "orders.place", "body": {{{wrong}}}}}'] * 1000).encode()
    assert 7 << 20 < len(body) < 8 << 20
    with served(settings, tmp_path) as web, ThreadPoolExecutor(1) as threads, requests.Session() as session:
        assert session.get(web.url("/healthz"), timeout=10).status_code == 200
        slowest, began = 0.0, monotonic()
        sending = threads.submit(web.post, "/v1/bulk", data=body, headers=mine, timeout=60)
        while not sending.done():
            asked = monotonic()
            assert session.get(web.url("/healthz"), timeout=30).status_code == 200
            slowest = max(slowest, monotonic() - asked)
        took, answer = monotonic() - began, sending.result()
    assert answer.status_code == 200, answer.text
    assert answer.text.count('"status":422,"error"') == 1000
    assert slowest < took / 4, "somebody waited for most of the bulk"
