"""The simulator as one object: a port to ask at, the calls it has taken, and what goes wrong with them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer
from typing import Self, cast
from urllib.parse import parse_qs

from local.carrier.api import Answer, Api, Asked
from local.carrier.book import Book, Call, Callback, Dial, Request
from local.carrier.door import HOST, Door
from local.carrier.faults import Chance, Faults
from local.carrier.line import Line, Pace
from local.carrier.wire import Wire


class Carrier:
    """A simulator that runs between `start` and `close`, or for the length of a `with` block.

    port: 0 for any that is free. faults: may be set anew at any time. seed: of chance. ledger: see `Book`.
    ring_seconds, talk_seconds: how long it rings, and people talk. hang_seconds: how late a fault's answer comes.
    """

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        port: int = 0,
        faults: Faults = Faults(),  # noqa: B008 - frozen
        seed: int | None = None,
        ledger: Path | None = None,
        queue_seconds: float = 0.05,
        ring_seconds: float = 0.2,
        talk_seconds: float = 0.5,
        hang_seconds: float = 15,
    ) -> None:
        self._chance = Chance(faults, seed)
        self._book = Book(ledger)
        self._wire = Wire(auth_token)
        self._line = Line(account_sid, self._wire, self._chance, Pace(queue_seconds, ring_seconds, talk_seconds))
        self._api = Api(account_sid, auth_token, self._book, self._line, self._chance)
        self._hang_seconds = hang_seconds
        self._closing = threading.Event()
        self._door = Door(port, self._serve)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        self._wire.start()
        self._door.start()
        self._door.refuse(self.faults.refuse)

    def close(self) -> None:
        self._closing.set()
        self._door.close()
        self._wire.close()
        self._book.close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._door.port}"

    @property
    def faults(self) -> Faults:
        return self._chance.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        """In force when this returns."""
        self._chance.faults = faults
        self._door.refuse(faults.refuse)

    @property
    def calls(self) -> dict[str, Call]:
        """Every call, by SID."""
        return self._book.calls

    @property
    def dials(self) -> list[Dial]:
        """Every dial that was accepted, as in the ledger."""
        return self._book.dials

    @property
    def requests(self) -> list[Request]:
        """Every request that was received."""
        return self._api.requests

    @property
    def callbacks(self) -> list[Callback]:
        """Every callback that was sent."""
        return self._line.callbacks

    def _serve(self, connection: socket.socket) -> None:
        Handler(connection, self._answer)

    def _answer(self, asked: Asked) -> Answer:
        answer = self._api.answer(asked)
        if answer.late:
            self._closing.wait(self._hang_seconds)
        return answer


class Handler(BaseHTTPRequestHandler):
    """Reads one request and answers it. No connection is kept alive: it would go round a port that refuses."""

    timeout = 30
    server_version = "carrier-simulator"
    sys_version = ""

    def __init__(self, connection: socket.socket, answer: Callable[[Asked], Answer]) -> None:
        self._answer = answer
        super().__init__(connection, (HOST, 0), cast(BaseServer, None))

    def do_GET(self) -> None:
        self._exchange()

    def do_POST(self) -> None:
        self._exchange()

    def log_message(self, *_: object) -> None:
        """Nothing: URLs of lists have phone numbers in them."""

    def _exchange(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        credentials = self.headers.get("Authorization", "")
        answer = self._answer(Asked(self.command, self.path, credentials, parse_qs(body.decode())))
        if not answer.status:
            return
        content = answer.content if isinstance(answer.content, str) else json.dumps(answer.content)
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())
