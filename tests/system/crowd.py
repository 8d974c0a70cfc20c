"""A crowd of clients that ask one thing each, and hear the answer as long as it lasts; read by one thread."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

AT_A_TIME = 20
"""Who ask together: fewer than a process refuses as too many (`MAX_IN_FLIGHT`)."""

END = b"\r\n\r\n"


class Answer(NamedTuple):
    """What one of them has heard so far; `over`: all of it."""

    status: int
    body: bytes
    over: bool


class Crowd:
    """Connections to one port, with a request each; by HTTP/1.0, so that an answer is its own bytes until its end."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._port = port
        self._head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._selector = selectors.DefaultSelector()
        self._heard: list[bytearray] = []
        self._open: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._open.values():
            connection.close()
        self._selector.close()

    def ask(self, paths: Sequence[str], arrived: Callable[[], int]) -> None:
        """Ask for each path, some at a time: the next ones when so many have `arrived`, in all, as have asked."""
        for start in range(0, len(paths), AT_A_TIME):
            for path in paths[start : start + AT_A_TIME]:
                self._ask(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{self._head}\r\n".encode())
            self._read(lambda: arrived() >= len(self._heard), 60)

    @property
    def begun(self) -> int:
        """How many hear something."""
        return sum(END in heard for heard in self._heard)

    @property
    def waiting(self) -> int:
        """How many answers are not at their end now."""
        self._read(lambda: not self._selector.select(0), 10)
        return len(self._open)

    def until_over(self, seconds: float) -> list[Answer]:
        """All answers, in the order in which they were asked for; those that last longer as far as they came."""
        self._read(lambda: not self._open, seconds)
        return [self._answer(number) for number in range(len(self._heard))]

    def _ask(self, request: bytes) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.sendall(request)
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, len(self._heard))
        self._open[len(self._heard)] = connection
        self._heard.append(bytearray())

    def _read(self, enough: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not enough() and time.monotonic() < deadline:
            for key, _ in self._selector.select(0.05):
                self._hear(key.data)

    def _hear(self, number: int) -> None:
        try:
            data = self._open[number].recv(1 << 16)
        except ConnectionError:
            data = b""
        self._heard[number] += data
        if not data:
            connection = self._open.pop(number)
            self._selector.unregister(connection)
            connection.close()

    def _answer(self, number: int) -> Answer:
        head, _, body = bytes(self._heard[number]).partition(END)
        status = int(head.split(b" ", 2)[1]) if head else 0
        return Answer(status, body, number not in self._open)


def last_of(stream: bytes) -> bytes:
    """The data of the last event of a stream."""
    return stream.rstrip().rpartition(b"data: ")[2]
