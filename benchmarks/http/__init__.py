"""How many orders a second are accepted over HTTP: by Millrace, by the same service written plainly, by a bare 202.

All run under Millrace's own gunicorn configuration, beside the same Redis (`appendfsync always`), with the load
generator on the same machine.
"""

from __future__ import annotations

from collections.abc import Sequence

SERVERS = ("millrace", "plain", "bare")


def rates(servers: Sequence[str] = SERVERS, seconds: float = 5, rounds: int = 5) -> dict[str, float]:
    """Accepted requests a second by server: the medians of interleaved rounds of `seconds` each.

    Raises AssertionError where a request was refused, or a 202 is no job in Redis.
    """
    from contextlib import ExitStack

    from benchmarks.http.measure import interleaved
    from benchmarks.http.servers import backend, serve

    with backend() as own, ExitStack() as stack:
        running = [stack.enter_context(serve(name, own)) for name in servers]
        return {name: one.rate for name, one in interleaved(running, own, seconds=seconds, rounds=rounds).items()}
