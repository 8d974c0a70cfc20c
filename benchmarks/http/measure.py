"""One round of load on one server, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import cast

from benchmarks.http import load
from benchmarks.http.servers import Backend, Server

CONNECTIONS = 32
QUEUE = "rq:queue:orders"
WARM_UP = 0.5
MOST = 10_000
"""Requests a second that no server here reaches: a key is good for one of them, until Redis is emptied."""


@dataclass(frozen=True)
class Round:
    """`rate`: requests accepted a second. `cpu`: microseconds of the serving processes for each. Latencies in ms."""

    rate: float
    cpu: float
    p50: float
    p99: float


def round_of(server: Server, own: Backend, requests: Sequence[bytes], seconds: float, connections: int) -> Round:
    """Load for `seconds`, on an empty Redis. Raises AssertionError where a request was refused, or a 202 is no job."""
    own.empty()
    before = server.cpu_seconds()
    outcome = load.closed_loop(server.port, requests, connections=connections, seconds=seconds)
    used = server.cpu_seconds() - before
    assert set(outcome.answers) == {202}, f"{server.name} answered {dict(outcome.answers)}"
    if server.name != "bare":
        ids = cast(list[bytes], own.redis.lrange(QUEUE, 0, -1))
        stored = sum(map(bool, _exist(own, ids)))
        assert len(ids) == stored == outcome.answers[202], f"{outcome.answers[202]} accepted, {stored} stored"
    accepted = outcome.answers[202]
    return Round(outcome.rate, used / accepted * 1e6, outcome.latency(0.5), outcome.latency(0.99))


def _exist(own: Backend, ids: Sequence[bytes]) -> list[int]:
    pipe = own.redis.pipeline(transaction=False)
    for job_id in ids:
        pipe.exists(b"rq:job:" + job_id)
    return list(pipe.execute())


def interleaved(
    servers: Sequence[Server],
    own: Backend,
    *,
    seconds: float,
    rounds: int,
    connections: int = CONNECTIONS,
    keyed: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Round]:
    """Rounds of each server in turn, so that a slow moment of the machine meets them all; the medians."""
    many = int(MOST * seconds) if keyed else 2000
    requests = {server.name: server.requests(many, keyed=keyed) for server in servers}
    for server in servers:
        round_of(server, own, requests[server.name], WARM_UP, connections)
    seen: dict[str, list[Round]] = {server.name: [] for server in servers}
    for number in range(rounds):
        for server in servers:
            one = round_of(server, own, requests[server.name], seconds, connections)
            seen[server.name].append(one)
            say(f"{number + 1}/{rounds} {server.name:<10}{one.rate:7.0f}/s {one.cpu:6.0f} µs")
    return {name: _medians(found) for name, found in seen.items()}


def _medians(found: Sequence[Round]) -> Round:
    return Round(
        rate=median(one.rate for one in found),
        cpu=median(one.cpu for one in found),
        p50=median(one.p50 for one in found),
        p99=median(one.p99 for one in found),
    )
