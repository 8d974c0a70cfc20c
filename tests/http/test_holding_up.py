"""What one request waits for holds up no other: a PostgreSQL that hangs, and the hashing of passwords (CONTRACT.md §1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from uuid import uuid4

import psutil
import pytest
import requests

from config import Settings
from local.postgres import Postgres
from tests.conftest import PASSWORD, Person
from tests.http.conftest import ORDER
from tests.http.serving import Served, served
from tests.processes import until

AT_ONCE = 30
"""More than there are connections."""

BOUND = 10.0
"""Seconds: a turn at the pool and a look, twice over, and room for a slow machine."""


@pytest.fixture
def web(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    with served(settings, tmp_path) as found:
        yield found


@pytest.fixture
def hung(postgres: Postgres) -> Iterator[Callable[[bool], None]]:
    """Let PostgreSQL hang, and go on."""
    stopped: list[psutil.Process] = []

    def hang(yes: bool) -> None:
        if yes:
            postmaster = psutil.Process(postgres.pid)
            stopped.extend([postmaster, *postmaster.children(recursive=True)])
            for process in stopped:
                process.suspend()
        else:
            while stopped:
                stopped.pop().resume()

    yield hang
    hang(False)


def test_a_postgresql_that_hangs_does_not_take_the_api_with_it(
    web: Served, hung: Callable[[bool], None], people: dict[str, Person]
) -> None:
    login = {"email": people["user"].email, "password": PASSWORD}
    token = web.post("/v1/auth/login", json=login).json()["access_token"]
    mine = {"Authorization": f"Bearer {token}"}

    def create(number: int) -> requests.Response:
        headers = mine | {"Idempotency-Key": f"while-it-hangs-{number}"}
        return web.post("/v1/orders", json=ORDER, headers=headers, timeout=60)

    def read(_: int = 0) -> requests.Response:
        return web.get("/v1/orders", headers=mine, timeout=60)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert {answer.status_code for answer in threads.map(read, range(AT_ONCE))} == {200}
        hung(True)
        for round_ in range(2):  # by the connections there were, then by none
            began = monotonic()
            creates = [threads.submit(create, number) for number in range(AT_ONCE // 2)]
            reads = [threads.submit(read) for _ in range(AT_ONCE // 2)]
            assert web.get("/healthz", timeout=2).status_code == 200
            for created in creates:
                assert created.result().status_code == 202, (round_, created.result().text)
            for refused in reads:
                answer = refused.result()
                assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert monotonic() - began < BOUND
    began = monotonic()
    ready = web.get("/readyz", timeout=60)
    assert (ready.status_code, ready.json()["checks"]["database"]["ok"]) == (200, False)
    assert monotonic() - began < BOUND
    hung(False)
    until(lambda: read().status_code == 200, 10)
    again = create(0)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert read().status_code == 200


@pytest.mark.parametrize("asked", ["a deletion", "signing in", "the same again"])
def test_writes_that_wait_for_a_postgresql_that_hangs_keep_no_create_out(
    settings: Settings, tmp_path: Path, hung: Callable[[bool], None], people: dict[str, Person], asked: str
) -> None:
    login = {"email": people["user"].email, "password": PASSWORD}
    few = settings.model_copy(update={"max_in_flight": 4})
    with served(few, tmp_path) as web, ThreadPoolExecutor(8) as threads:
        token = web.post("/v1/auth/login", json=login).json()["access_token"]
        mine = {"Authorization": f"Bearer {token}"}

        def ask() -> int:
            if asked == "signing in":
                return web.post("/v1/auth/login", json=login, timeout=60).status_code
            if asked == "the same again":
                return web.post("/v1/orders", json=ORDER, headers=keyed, timeout=60).status_code
            return requests.delete(web.url(f"/v1/orders/{uuid4()}"), headers=mine, timeout=60).status_code

        keyed = mine | {"Idempotency-Key": "the-same"}
        assert web.post("/v1/orders", json=ORDER, headers=keyed).status_code == 202
        hung(True)
        asking = [threads.submit(ask) for _ in range(8)]
        while not all(one.done() for one in asking):
            created = web.post("/v1/orders", json=ORDER, headers=mine, timeout=60)
            assert created.status_code == 202, created.text
        assert {one.result() for one in asking} == {202 if asked == "the same again" else 503}


def test_it_answers_while_it_hashes_passwords(web: Served, people: dict[str, Person]) -> None:
    """20 sign in at once, which takes about 2 s of hashing; nobody else waits for even a few of those."""
    slowest = 0.0

    def sign_in(number: int) -> int:
        email = people["user"].email if number % 2 else "nobody@example.com"
        return web.post("/v1/auth/login", json={"email": email, "password": PASSWORD}, timeout=60).status_code

    with ThreadPoolExecutor(20) as threads, requests.Session() as session:
        signing = [threads.submit(sign_in, number) for number in range(20)]
        while not all(one.done() for one in signing):
            began = monotonic()
            assert session.get(web.url("/healthz"), timeout=10).status_code == 200
            slowest = max(slowest, monotonic() - began)
        assert sorted(one.result() for one in signing) == [200] * 10 + [401] * 10
    assert slowest < 1
