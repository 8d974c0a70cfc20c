"""What becomes of connections when the API is told to stop (CONTRACT.md §9)."""

from __future__ import annotations

import signal
from pathlib import Path
from time import monotonic, sleep

import psutil

from config import Settings
from deploy.door import IDLE
from deploy.gunicorn import keepalive
from tests.http.serving import answer_on, served

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
