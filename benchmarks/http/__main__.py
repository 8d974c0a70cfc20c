"""`python -m benchmarks.http`: the rates, what a request costs, and the bars they are held to."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from benchmarks.http import SERVERS
from benchmarks.http.measure import CONNECTIONS, interleaved
from benchmarks.http.servers import APPS, backend, serve

BARS = {"plain": 2.5, "bare": 0.4}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--servers", nargs="+", choices=sorted(APPS), default=list(SERVERS))
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keyed", action="store_true", help="each request with an Idempotency-Key of its own")
    parser.add_argument("--gunicorn", default="", help="more of its options, like '--worker-class gthread --threads 8'")
    asked = parser.parse_args()
    with backend() as own, ExitStack() as stack:
        options = tuple(asked.gunicorn.split())
        running = [
            stack.enter_context(serve(name, own, processes=asked.processes, options=options)) for name in asked.servers
        ]
        found = interleaved(
            running,
            own,
            seconds=asked.seconds,
            rounds=asked.rounds,
            connections=asked.connections,
            keyed=asked.keyed,
            say=print,
        )
    for name, one in found.items():
        print(f"{name:<10}{one.rate:7.0f}/s  {one.cpu:5.0f} µs CPU each  p50 {one.p50:.1f} ms  p99 {one.p99:.1f} ms")
    for peer, bar in BARS.items():
        if {"millrace", peer} <= found.keys():
            ratio = found["millrace"].rate / found[peer].rate
            print(f"millrace / {peer}: {ratio:.2f} (bar {bar}) {'met' if ratio >= bar else 'NOT met'}")


if __name__ == "__main__":
    main()
