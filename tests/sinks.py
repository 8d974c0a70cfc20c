"""An event sink over HTTP for tests: it answers as it is told, keeps a ledger, and tells events apart by their keys alone."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

Plan = Callable[[int, str], int]
"""The status of the n-th answer, from 0, to a request with a key; it may take its time."""


def well(number: int, key: str) -> int:
    return 200


def away(number: int, key: str) -> int:
    return 503


def flaky(number: int, key: str) -> int:
    """Five answers, then ten failures after 100 ms each, over and over."""
    if number % 15 < 5:
        return 200
    time.sleep(0.1)
    return 503


@dataclass(frozen=True)
class Seen:
    """A request. `came`: by the monotonic clock. `key`: what it was known by; a new one where it bore none."""

    came: float
    key: str
    body: dict[str, Any]
    status: int


class SinkServer:
    """Listens for the length of a block. `plan` may be set at any time; `seen`: requests in the order of their answers."""

    def __init__(self, plan: Plan = well) -> None:
        self.plan = plan
        self.seen: list[Seen] = []
        self._numbers = count()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"

    @property
    def taken(self) -> Counter[str]:
        """How often each event was taken, by its key."""
        return Counter(seen.key for seen in self.seen if seen.status == 200)

    @property
    def events(self) -> Counter[str]:
        """How often each event was taken, by the id in its body."""
        return Counter(str(seen.body["id"]) for seen in self.seen if seen.status == 200)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                came, number = time.monotonic(), next(sink._numbers)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers.get("Idempotency-Key") or f"none-{number}"
                status = sink.plan(number, key)
                sink.seen.append(Seen(came, key, body, status))
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone."""
