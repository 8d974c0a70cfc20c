"""A load generator in one thread: kept-alive connections over one selector, with as little work for each answer as can be."""

from __future__ import annotations

import selectors
import socket
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

GOOD = (200, 202)

LAST_ANSWERS = 10.0
"""Seconds for the answers that are still out when the time is up."""


@dataclass
class Outcome:
    """What came back. `answers` by status; `seconds`: from the first request until the last in time was answered;
    `latencies`: of each answer with status 200 or 202, in seconds; `refusals`: of each other answer."""

    answers: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    seconds: float = 0.0
    in_time: int = 0

    @property
    def rate(self) -> float:
        """Requests accepted a second."""
        return self.in_time / self.seconds

    def latency(self, share: float) -> float:
        """The latency in milliseconds that `share` of the accepted requests kept below."""
        return percentile(self.latencies, share)


def percentile(values: Sequence[float], share: float) -> float:
    """In milliseconds, of values in seconds; not a number where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("nan")


class Connection:
    """One connection, with at most one request out at a time. `ended`: the server keeps it no longer alive."""

    __slots__ = ("buffer", "ended", "port", "sent_at", "socket", "wanted")

    def __init__(self, port: int) -> None:
        self.port = port
        self.sent_at = 0.0
        self.open()

    def open(self) -> None:
        """Connect, for the first time or anew."""
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.buffer = b""
        self.wanted = 0
        self.ended = False

    def renew_in(self, selector: selectors.BaseSelector) -> None:
        """Connect anew where the server keeps the connection no longer alive."""
        if self.ended:
            selector.unregister(self.socket)
            self.socket.close()
            self.open()
            selector.register(self.socket, selectors.EVENT_READ, self)

    def send(self, request: bytes, asked_at: float) -> None:
        self.sent_at = asked_at
        self.socket.send(request)

    def status(self) -> int | None:
        """The status of the answer once all of it is here; None until then. Raises ConnectionError at its end."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection")
        self.buffer = data = self.buffer + data if self.buffer else data
        if not self.wanted:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                return None
            at = data.find(b"Content-Length: ", 0, head) + 16
            self.wanted = head + 4 + int(data[at : data.find(b"\r", at)])
            self.ended = data.find(b"Connection: close", 0, head) > 0
        if len(data) < self.wanted:
            return None
        self.buffer, self.wanted = b"", 0
        return int(data[9:12])


def closed_loop(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Outcome:
    """Ask as fast as answers come: each connection sends its next request when it has its answer."""
    return _drive(port, requests, connections, seconds, every=0.0)


def open_loop(port: int, requests: Sequence[bytes], *, connections: int, seconds: float, rate: float) -> Outcome:
    """Ask `rate` times a second whatever comes back. A request waits for a free connection, and its latency is counted
    from when it was due, so that a server that stalls is charged for everyone it kept waiting."""
    return _drive(port, requests, connections, seconds, every=1.0 / rate)


def _drive(port: int, requests: Sequence[bytes], connections: int, seconds: float, *, every: float) -> Outcome:
    outcome, selector = Outcome(), selectors.DefaultSelector()
    idle = deque(Connection(port) for _ in range(connections))
    everyone = list(idle)
    for each in everyone:
        selector.register(each.socket, selectors.EVENT_READ, each)
    number, out = 0, 0
    began = due = perf_counter()
    ends = began + seconds
    try:
        while True:
            now = perf_counter()
            if now < ends:
                while idle and (not every or due <= now):
                    idle.popleft().send(requests[number % len(requests)], due if every else now)
                    number, out, due = number + 1, out + 1, due + every
            elif not out or now > ends + LAST_ANSWERS:
                break
            pause = max(0.0, min(due, ends) - now) if every and now < ends and idle else 0.1
            for key, _ in selector.select(pause):
                connection: Connection = key.data
                status = connection.status()
                if status is None:
                    continue
                now = perf_counter()
                out -= 1
                outcome.answers[status] += 1
                taken = now - connection.sent_at
                if status in GOOD:
                    outcome.latencies.append(taken)
                    outcome.in_time += now < ends
                else:
                    outcome.refusals.append(taken)
                connection.renew_in(selector)
                if not every and now < ends:
                    connection.send(requests[number % len(requests)], now)
                    number, out = number + 1, out + 1
                else:
                    idle.append(connection)
    finally:
        selector.close()
        for each in everyone:
            each.socket.close()
    if out:
        raise TimeoutError(f"{out} requests were not answered")
    outcome.seconds = seconds
    return outcome
