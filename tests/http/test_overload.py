"""More than can be served in time: the rest is refused at once, and those who only wait are not counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from time import monotonic, sleep

import pytest
import requests
from flask import Flask

from api.headers import SECURITY
from api.services import NAME
from benchmarks.http import load
from config import Settings
from deploy.shed import EASE, STEADY, InFlight
from tests.conftest import Person
from tests.http.conftest import ORDER, token_of
from tests.http.serving import Served, answer_on, served
from tests.processes import until

BODY = b'{"services": ["123"], "total_fee": "1"}'
HEAD = b"POST /v1/orders HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def mine(app: Flask, people: dict[str, Person]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_of(app, people['user'])}"}


@pytest.fixture
def small(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    """A process that serves one write and one read at a time."""
    with served(settings.model_copy(update={"max_in_flight": 1}), tmp_path) as found:
        yield found


@pytest.fixture
def storm(small: Served, mine: dict[str, str]) -> Iterator[None]:
    """Twenty clients that ask without a pause, for so long already that there is an overload."""
    over = Event()
    request = HEAD + f"Authorization: {mine['Authorization']}\r\nContent-Length: {len(BODY)}\r\n".encode()
    request += b"Content-Type: application/json\r\n\r\n" + BODY

    def ask() -> None:
        while not over.is_set():
            load.closed_loop(small.port, [request], connections=20, seconds=0.5)

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(ask)
        sleep(2 * STEADY)
        yield
        over.set()
        asking.result()


def first_refusal(web: Served, headers: dict[str, str]) -> requests.Response:
    for _ in range(200):
        answer = web.post("/v1/orders", json=ORDER, headers=headers)
        if answer.status_code != 202:
            return answer
    raise AssertionError("nothing is refused")


@pytest.mark.usefixtures("storm")
def test_what_is_too_much_is_refused_and_the_rest_is_served(small: Served, mine: dict[str, str], app: Flask) -> None:
    redis = app.extensions[NAME].redis
    for asked in (mine, mine | {"X-Request-ID": "my-own"}):
        answer = first_refusal(small, asked)
        problem = answer.json()
        assert (answer.status_code, problem["status"], problem["code"]) == (503, 503, "overloaded")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["X-Request-ID"] == asked.get("X-Request-ID", problem["request_id"])
        assert problem["request_id"] == answer.headers["X-Request-ID"]
        assert dict(answer.headers).items() >= SECURITY.items()
    before = redis.llen("rq:queue:orders")
    until(lambda: redis.llen("rq:queue:orders") > before)


@pytest.mark.usefixtures("storm")
def test_in_an_overload_of_writes_reads_and_the_health_check_are_served(small: Served, mine: dict[str, str]) -> None:
    first_refusal(small, mine)
    for _ in range(10):
        assert small.get("/healthz").status_code == 200
        assert small.get("/v1/orders", headers=mine).status_code == 200


def test_those_who_wait_for_a_job_keep_nobody_out(small: Served, mine: dict[str, str]) -> None:
    waiting = mine | {"Prefer": "wait=3"}
    with ThreadPoolExecutor(50) as threads:
        waiters = [threads.submit(small.post, "/v1/orders", json=ORDER, headers=waiting, timeout=30) for _ in range(50)]
        began = monotonic()
        while monotonic() - began < 3 * STEADY:
            assert small.post("/v1/orders", json=ORDER, headers=mine).status_code == 202
        assert {one.result().status_code for one in waiters} == {202}


def test_those_whose_bodies_are_slow_keep_nobody_out(small: Served, mine: dict[str, str]) -> None:
    begun = HEAD + f"Authorization: {mine['Authorization']}\r\n".encode()
    lengths = (b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n")
    with ExitStack() as slow:
        for length in 2 * lengths:
            connection = slow.enter_context(small.connect())
            connection.sendall(begun + b"Content-Type: application/json\r\n" + length + b"\r\n")
        began = monotonic()
        while monotonic() - began < 3 * STEADY:
            assert small.post("/v1/orders", json=ORDER, headers=mine).status_code == 202


def test_a_burst_is_no_overload(small: Served, mine: dict[str, str]) -> None:
    with ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(small.post, "/v1/orders", json=ORDER, headers=mine) for _ in range(10)]
        assert {one.result().status_code for one in asked} == {202}


def test_without_a_limit_nothing_is_too_much() -> None:
    flight = InFlight(0)
    for _ in range(1000):
        flight.enter()
    assert not flight.is_too_much()


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_bursts_with_rest_between_them_are_never_too_much() -> None:
    clock = Clock()
    flight = InFlight(32, clock)
    for _ in range(50):
        for _ in range(48):
            flight.enter()
            assert not flight.is_too_much()
        clock.now += 0.05
        for _ in range(48):
            flight.leave()
        clock.now += 0.15


def test_a_crowd_that_stands_is_too_much_and_when_it_has_gone_nothing_is() -> None:
    clock = Clock()
    flight = InFlight(32, clock)
    for _ in range(40):
        flight.enter()
    clock.now += STEADY / 2
    assert not flight.is_too_much()
    clock.now += STEADY
    assert flight.is_too_much(), "though nobody else has come meanwhile"
    for _ in range(40):
        flight.leave()
    clock.now += 10 * EASE
    for _ in range(40):
        flight.enter()
    assert not flight.is_too_much()


def test_a_crowd_whose_members_are_answered_together_stands() -> None:
    clock = Clock()
    flight = InFlight(32, clock)
    for _ in range(10):
        for _ in range(64):
            flight.enter()
        clock.now += EASE
        too_much = flight.is_too_much()
        for _ in range(64):
            flight.leave()
        clock.now += EASE / 5
    assert too_much


def test_a_rest_ends_a_crowd_even_when_it_ends_with_few() -> None:
    clock = Clock()
    flight = InFlight(32, clock)
    for _ in range(32):
        flight.enter()
    for _ in range(32):
        flight.leave()
    clock.now += 10
    for _ in range(20):
        flight.enter()
    for _ in range(20):
        flight.leave()
    clock.now += EASE / 2
    for _ in range(32):
        flight.enter()
    assert not flight.is_too_much()


@pytest.mark.usefixtures("storm")
def test_a_refused_request_leaves_its_connection_in_step(small: Served, mine: dict[str, str]) -> None:
    head = HEAD + f"Authorization: {mine['Authorization']}\r\nContent-Type: application/json\r\n".encode()
    head += f"Content-Length: {len(BODY)}\r\n".encode()
    statuses: Counter[int] = Counter()
    with small.connect() as connection:
        while statuses.total() < 100 or (not statuses[503] and statuses.total() < 5_000):
            number = statuses.total()
            connection.sendall(head + f"X-Request-ID: in-step-{number}\r\n\r\n".encode())
            connection.sendall(BODY)
            answer = answer_on(connection)
            assert answer.headers["X-Request-ID"] == f"in-step-{number}"
            statuses[answer.status] += 1
    assert statuses.keys() <= {202, 503}
    assert statuses[503]
