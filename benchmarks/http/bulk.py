"""How many lines a second `POST /v1/bulk` accepts: one process of the API, a few clients on the same machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from statistics import median
from time import perf_counter

from benchmarks.http.measure import QUEUE
from benchmarks.http.servers import Backend, Server, backend, serve

LINES = 1000
CLIENTS = 4
WARM_UP = 1.0
ACCEPTED = b'{"status":202,"job"'
STALLED = b'"code":"queue_unavailable"'
"""What is said where Redis's disk does not answer in time, on a machine that others keep busy: it lowers the rate, and is no fault."""

ROUND = b"round"
"""In keys, where the number of the request is put."""


@dataclass(frozen=True)
class Rate:
    """`lines`: accepted a second. `cpu`: microseconds of the serving process for each."""

    lines: float
    cpu: float


def rates(
    seconds: float = 5, rounds: int = 5, clients: int = CLIENTS, say: Callable[[str], None] = lambda _: None
) -> dict[str, Rate]:
    """Of lines without keys (`plain`) and with one each (`keyed`): the medians of interleaved rounds of `seconds` each.

    Raises AssertionError where a line was refused for any reason but a stalled disk, or a line accepted is no job in Redis.
    """
    bodies = {"plain": _body(), "keyed": _body(idempotency_key=f"{ROUND.decode()}-{{}}")}
    seen: dict[str, list[Rate]] = {name: [] for name in bodies}
    with backend() as own, serve("millrace", own, processes=1) as server:
        for body in bodies.values():
            _round(server, own, body, WARM_UP, clients)
        for number in range(rounds):
            for name, body in bodies.items():
                one = _round(server, own, body, seconds, clients)
                seen[name].append(one)
                say(f"{number + 1}/{rounds} {name:<10}{one.lines:7.0f}/s {one.cpu:6.1f} µs")
    return {
        name: Rate(median(one.lines for one in found), median(one.cpu for one in found)) for name, found in seen.items()
    }


def _body(**more: str) -> bytes:
    """A whole bulk of orders, each of a customer of its own."""
    order = {"services": ["123", "456"], "total_fee": "100.00"}
    lines = (
        {"kind": "orders.place", "body": order | {"customer_id": f"customer-{number}"}}
        | {name: value.format(number) for name, value in more.items()}
        for number in range(LINES)
    )
    return b"\n".join(json.dumps(line).encode() for line in lines)


def _round(server: Server, own: Backend, body: bytes, seconds: float, clients: int) -> Rate:
    """Bulks for `seconds`, each client's next as soon as its last was answered, on an empty Redis."""
    own.empty()
    numbers, used, began = count(), server.cpu_seconds(), perf_counter()

    def client(which: int) -> int:
        headers = {"Authorization": f"Bearer {server.tokens[which]}", "Content-Type": "application/x-ndjson"}
        accepted = 0
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
            while perf_counter() - began < seconds:
                connection.request("POST", "/v1/bulk", body.replace(ROUND, b"%d" % next(numbers)), headers)
                answer = connection.getresponse().read()
                taken = answer.count(ACCEPTED)
                assert taken == LINES or STALLED in answer, answer[:500]
                accepted += taken
        return accepted

    with ThreadPoolExecutor(clients) as threads:
        accepted = sum(threads.map(client, range(clients)))
    taken, used = perf_counter() - began, server.cpu_seconds() - used
    stored = own.redis.llen(QUEUE)
    assert stored >= accepted, f"{accepted} accepted, {stored} stored"
    return Rate(accepted / taken, used / accepted * 1e6)


if __name__ == "__main__":
    for name, one in rates(say=print).items():
        print(f"{name:<10}{one.lines:7.0f} lines/s  {one.cpu:5.1f} µs CPU each")
