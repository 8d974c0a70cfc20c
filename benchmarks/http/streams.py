"""`python -m benchmarks.http.streams`: how fast one process accepts orders beside those who only listen, and beside nobody."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median

from psutil import Process

from benchmarks.http import load
from benchmarks.http.crowd import STREAMS, WAITERS, listening
from benchmarks.http.measure import CONNECTIONS
from benchmarks.http.servers import Backend, Server, backend, serve

WARM_UP = 1.0


@dataclass(frozen=True)
class Round:
    """`rate`: orders accepted a second. Latencies in ms. `memory`, in KiB, and `files`: more, for each who listens, than the
    process had before any did."""

    rate: float
    p50: float
    p99: float
    memory: float = 0.0
    files: float = 0.0


def pairs(
    seconds: float = 5, rounds: int = 5, options: tuple[str, ...] = (), say: Callable[[str], None] = lambda _: None
) -> dict[str, Round]:
    """`alone`, and `beside` STREAMS and WAITERS: the medians of interleaved rounds of `seconds` each, by one process.

    options: more of gunicorn's. Raises TimeoutError where those who listen are not let in, or an order is not answered, and
    AssertionError where one was refused."""
    seen: dict[str, list[Round]] = {"alone": [], "beside": []}
    with backend() as own, serve("millrace", own, processes=1, options=options) as server:
        requests = server.requests()
        load.closed_loop(server.port, requests, connections=CONNECTIONS, seconds=WARM_UP)
        for number in range(rounds):
            order = ("alone", "beside") if number % 2 else ("beside", "alone")
            for name in order:
                one = _round(server, own, requests, seconds, crowded=name == "beside")
                seen[name].append(one)
                say(f"{number + 1}/{rounds} {name:<8}{one.rate:7.0f}/s  p50 {one.p50:.1f} ms  p99 {one.p99:.1f} ms")
    return {name: _medians(found) for name, found in seen.items()}


def _round(server: Server, own: Backend, requests: Sequence[bytes], seconds: float, *, crowded: bool) -> Round:
    own.empty()
    (process,) = server.master.children()
    before = _held(process)
    with listening(server, own) if crowded else nullcontext():
        memory, files = _held(process)
        outcome = load.closed_loop(server.port, requests, connections=CONNECTIONS, seconds=seconds)
    assert set(outcome.answers) == {202}, f"answered {dict(outcome.answers)}"
    more = [(now - then) / (STREAMS + WAITERS) for now, then in zip((memory, files), before, strict=True)]
    return Round(outcome.rate, outcome.latency(0.5), outcome.latency(0.99), *more)


def _held(process: Process) -> tuple[float, int]:
    """Its memory in KiB, and its open files."""
    return process.memory_info().rss / 1024, process.num_fds()


def _medians(found: Sequence[Round]) -> Round:
    names = ("rate", "p50", "p99", "memory", "files")
    return Round(*(median(getattr(one, name) for one in found) for name in names))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http.streams", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gunicorn", default="", help="more of its options, like '--worker-class gthread --threads 8'")
    asked = parser.parse_args()
    found = pairs(asked.seconds, asked.rounds, tuple(asked.gunicorn.split()), print)
    for name, one in found.items():
        print(f"{name:<8}{one.rate:7.0f}/s  p50 {one.p50:.1f} ms  p99 {one.p99:.1f} ms")
    beside = found["beside"]
    print(f"for each who listens: {beside.memory:.0f} KiB, {beside.files:.2f} files")
    print(f"beside / alone: {beside.rate / found['alone'].rate:.3f} (bar 0.95)")


if __name__ == "__main__":
    main()
