"""`python -m benchmarks.http.streams`: how fast one process accepts orders beside those who only listen, and beside nobody.

Two processes serve, one of them beside a crowd, and are loaded in turn for a second or so, while the other is stopped: what
else the machine does meets both alike. Then they change places.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from statistics import median

from psutil import Process

from benchmarks.http import load
from benchmarks.http.crowd import STREAMS, WAITERS, listening
from benchmarks.http.measure import CONNECTIONS
from benchmarks.http.servers import Server, backend, serve

PAIRS, SECONDS = 12, 0.75
"""Of rounds beside one crowd, and of one round: all of them in less than the 30 s that somebody waits."""

WARM_UP = 1.0


@dataclass(frozen=True)
class Round:
    """`rate`: orders accepted a second. `cpu`: microseconds of the serving process for each. Latencies in ms."""

    rate: float
    cpu: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.rate:6.0f}/s {self.cpu:6.0f} µs  p50 {self.p50:.1f} ms  p99 {self.p99:.1f} ms"


@dataclass(frozen=True)
class Found:
    """Medians of rounds. `ratio`: of rates, beside a crowd to alone, the median of pairs. `memory`, in KiB, and `files`: what each
    who listens takes of the process."""

    alone: Round
    beside: Round
    ratio: float
    memory: float
    files: float


def compared(crowds: int = 4, options: tuple[str, ...] = (), say: Callable[[str], None] = lambda _: None) -> Found:
    """PAIRS of rounds alone and beside each of the `crowds`. options: more of gunicorn's.

    Raises TimeoutError where those who listen are not let in, or an order is not answered, and AssertionError where one was
    refused."""
    pairs: list[tuple[Round, Round]] = []
    costs: list[tuple[float, float]] = []
    with (
        backend() as own,
        serve("millrace", own, processes=1, options=options) as one,
        serve("millrace", own, processes=1, options=options) as other,
    ):
        for server in (one, other):
            load.closed_loop(server.port, server.requests(), connections=CONNECTIONS, seconds=WARM_UP)
        for number in range(crowds):
            own.empty()
            crowded, lonely = (one, other) if number % 2 else (other, one)
            before = _held(crowded)
            with listening(crowded, own):
                costs.append(
                    tuple((now - then) / (STREAMS + WAITERS) for now, then in zip(_held(crowded), before, strict=True))
                )
                pairs += _pairs(lonely, crowded, say)
    memory, files = (median(each) for each in zip(*costs, strict=True))
    alone, beside = (_medians(each) for each in zip(*pairs, strict=True))
    return Found(alone, beside, median(two.rate / one.rate for one, two in pairs), memory, files)


def _pairs(lonely: Server, crowded: Server, say: Callable[[str], None]) -> Iterator[tuple[Round, Round]]:
    for number in range(PAIRS):
        found = {}
        for server, another in ((lonely, crowded), (crowded, lonely))[:: 1 if number % 2 else -1]:
            with _stopped(another):
                found[server.port] = _round(server)
        alone, beside = found[lonely.port], found[crowded.port]
        say(f"alone {alone}    beside {beside}    {beside.rate / alone.rate:.2f}")
        yield alone, beside


def _round(server: Server) -> Round:
    before = server.cpu_seconds()
    outcome = load.closed_loop(server.port, server.requests(), connections=CONNECTIONS, seconds=SECONDS)
    used = server.cpu_seconds() - before
    assert set(outcome.answers) == {202}, f"answered {dict(outcome.answers)}"
    return Round(outcome.rate, used / outcome.answers[202] * 1e6, outcome.latency(0.5), outcome.latency(0.99))


@contextmanager
def _stopped(server: Server) -> Iterator[None]:
    process = _process(server)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def _held(server: Server) -> tuple[float, int]:
    """The memory of its process in KiB, and its open files."""
    process = _process(server)
    return process.memory_info().rss / 1024, process.num_fds()


def _process(server: Server) -> Process:
    (process,) = server.master.children()
    return process


def _medians(found: Sequence[Round]) -> Round:
    return Round(**{each.name: median(getattr(one, each.name) for one in found) for each in fields(Round)})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http.streams", description=__doc__)
    parser.add_argument("--crowds", type=int, default=4)
    parser.add_argument("--gunicorn", default="", help="more of its options, like '--worker-class gthread --threads 8'")
    asked = parser.parse_args()
    found = compared(asked.crowds, tuple(asked.gunicorn.split()), print)
    print(f"alone  {found.alone}\nbeside {found.beside}\nbeside / alone: {found.ratio:.3f} (bar 0.95)")
    print(f"each who listens: {found.memory:.0f} KiB, {found.files:.2f} files")


if __name__ == "__main__":
    main()
