"""The API as gunicorn serves it, for what only shows on the wire."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from config import Settings
from local.processes import free_port
from tests.processes import children, python, running, until

APP = "api.app:create_app()"


@dataclass(frozen=True)
class Answer:
    """A response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """One process of the API."""

    port: int
    log: Path
    master: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str, **more: Any) -> requests.Response:
        return requests.get(self.url(path), timeout=more.pop("timeout", 10), **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return requests.post(self.url(path), timeout=more.pop("timeout", 10), **more)

    @property
    def processes(self) -> list[psutil.Process]:
        """Those that serve."""
        return children(self.master)

    def connect(self, timeout: float = 30) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def exchange(self, sent: bytes, *, end: bool = False, timeout: float = 30) -> Answer:
        """What is answered to these bytes. `end`: nothing more is ever sent, and the server is told so."""
        with self.connect(timeout) as connection:
            connection.sendall(sent)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return answer_on(connection)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


def answer_on(connection: socket.socket) -> Answer:
    """The next response that comes on a connection."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers: dict[str, str] = {}
        while line := stream.readline().strip():
            name, _, value = line.decode("latin-1").partition(": ")
            assert name not in headers, f"{name} is sent twice"
            headers[name] = value
        return Answer(status, headers, stream.read(int(headers["Content-Length"])))


@contextmanager
def served(settings: Settings, folder: Path, options: Sequence[str] = (), app: str = APP) -> Iterator[Served]:
    """Serve for the length of a block, as the Procfile does, by one process."""
    port, log = free_port(), folder / "web.log"
    command = python("-m", "gunicorn", "--config", "deploy/gunicorn.py", "--bind", f"127.0.0.1:{port}", *options, app)
    with running(command, settings, log, WEB_CONCURRENCY="1") as process:
        found = Served(port, log, process.pid)
        until(lambda: _answers(found))
        yield found


def _answers(web: Served) -> bool:
    try:
        return web.get("/healthz", timeout=2).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        return False
