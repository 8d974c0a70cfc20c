"""A service outside that answers whatever a test has it answer, byte by byte."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress

Answer = bytes | Iterable[bytes] | None
"""What is said, in one go or part by part."""


def http(status: int, body: object, headers: str = "") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


class Provider:
    """Listens on a port, reads one request of each connection, says the next thing it was given (None: nothing, for as long as
    the client stays), and leaves hanging up to the client."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.requests.append(self._request(connection))
                with suppress(OSError):
                    for part in [answer] if isinstance(answer, bytes) else answer or ():
                        connection.sendall(part)
                    connection.recv(1)  # until the client has gone

    def _request(self, connection: socket.socket) -> bytes:
        read = connection.recv(65536)
        while b"\r\n\r\n" not in read:
            read += connection.recv(65536)
        head, _, body = read.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self._socket.close()
