"""What becomes of connections when the API is told to stop (CONTRACT.md §9)."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import psutil
from flask import Flask
from redis import Redis

from config import Settings
from deploy.door import IDLE
from deploy.gunicorn import keepalive
from jobs.kernel import keys
from tests.conftest import Person
from tests.http import slow_start
from tests.http.conftest import ORDER, token_of
from tests.http.serving import answer_on, served
from tests.processes import until

READ = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
WRITE = b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"


def test_who_is_idle_is_not_waited_for_and_who_asks_is_answered(base_settings: Settings, tmp_path: Path) -> None:
    with (
        served(base_settings, tmp_path) as web,
        web.connect() as fresh,
        web.connect() as idle,
        web.connect() as asking,
        web.connect() as halfway,
    ):
        for connection in (idle, asking):
            connection.sendall(READ)
            assert answer_on(connection).status == 200
        halfway.sendall(WRITE)
        sleep(IDLE)
        asking.sendall(READ)
        assert answer_on(asking).status == 200
        began = monotonic()
        psutil.Process(web.master).send_signal(signal.SIGTERM)
        sleep(IDLE / 2)
        asking.sendall(READ)
        last = answer_on(asking)
        assert (last.status, last.headers["Connection"], asking.recv(1)) == (200, "close", b"")
        for connection in (fresh, idle):
            assert connection.recv(1) == b""
        sleep(IDLE)
        halfway.sendall(b"{}")
        assert answer_on(halfway).status == 422
        psutil.wait_procs([psutil.Process(web.master)], timeout=30)
        assert monotonic() - began < keepalive
    assert '"level":"error"' not in web.log.read_text()


def test_who_has_connected_when_nobody_listens_any_more_is_answered(base_settings: Settings, tmp_path: Path) -> None:
    with served(base_settings, tmp_path) as web, ExitStack() as waiting:
        (serving,) = web.processes
        serving.suspend()
        connections = [waiting.enter_context(web.connect()) for _ in range(50)]
        for connection in connections:
            connection.sendall(READ)
        sleep(1.5)  # longer than it takes between two looks at whether it is to stop
        psutil.Process(web.master).send_signal(signal.SIGTERM)
        sleep(0.5)
        serving.resume()
        answers = [answer_on(connection) for connection in connections]
    assert {(answer.status, answer.headers["Connection"]) for answer in answers} == {(200, "close")}


def test_who_serves_stays_until_those_who_follow_are_ready(base_settings: Settings, tmp_path: Path) -> None:
    with served(base_settings, tmp_path, app="tests.http.slow_start:create_app()") as web:
        (old,) = web.processes
        psutil.Process(web.master).send_signal(signal.SIGHUP)
        answers = 0
        while old.is_running():
            assert web.get("/healthz", timeout=slow_start.SECONDS / 2).status_code == 200
            answers += 1
        assert answers > 1
        assert web.get("/healthz").status_code == 200
        assert len(web.processes) == 1


def test_who_waits_for_a_job_is_answered_before_the_end(
    settings: Settings, tmp_path: Path, app: Flask, people: dict[str, Person], redis: Redis
) -> None:
    headers = {"Authorization": f"Bearer {token_of(app, people['user'])}", "Prefer": "wait=30"}
    with served(settings, tmp_path) as web, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: web.post("/v1/orders", json=ORDER, headers=headers, timeout=60))
        until(lambda: redis.llen(keys.queue("orders")) == 1)
        psutil.Process(web.master).send_signal(signal.SIGTERM)
        assert (waiting.result().status_code, waiting.result().json()["status"]) == (202, "queued")
