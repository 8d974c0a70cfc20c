"""What a read costs: an order and a list of 20, from the cache and from PostgreSQL, and an empty view beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from statistics import median
from uuid import UUID, uuid4

import psycopg2

from benchmarks.http import load
from benchmarks.http.servers import READ, USERS, Server, backend, serve, tokens_of

CONNECTIONS = 32
LISTED = 20
WARM_UP = 1.0
ORDERS = """
    INSERT INTO orders (id, owner_id, customer_id, services, total_fee, created_at, updated_at)
    SELECT CASE number WHEN 1 THEN owner ELSE gen_random_uuid() END, owner, 'customer-' || number, '{123,456}', 100, now(), now()
    FROM unnest(%s::uuid[]) AS owner, generate_series(1, %s) AS number
    """
"""Of each owner, LISTED orders; the first has the owner's id, so that it is known."""


def costs(seconds: float = 5, rounds: int = 5, say: Callable[[str], None] = lambda _: None) -> dict[str, float]:
    """Microseconds of the serving processes for each read: `cached.order`, `cached.list`, `uncached.order`,
    `uncached.list`, and of two empty views, `empty` and `counted`; the medians of interleaved rounds of `seconds` each.

    Raises AssertionError where a read was not answered with 200.
    """
    with backend() as own, ExitStack() as stack:
        owners = [uuid4() for _ in range(USERS)]
        with closing(psycopg2.connect(own.environment["DATABASE_URL"])) as connection, connection.cursor() as cursor:
            cursor.execute(ORDERS, [[str(owner) for owner in owners], LISTED])
            connection.commit()
        tokens = tokens_of(owners, own.environment)
        asked = {}
        for name in READ:
            server = stack.enter_context(serve(name, own))
            asked |= {what: (server, found) for what, found in _requests(server, owners, tokens).items()}
        for server, found in asked.values():
            _cost(server, found, WARM_UP)
        seen: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(rounds):
            for name, (server, found) in asked.items():
                seen[name].append(_cost(server, found, seconds))
                say(f"{name:<16}{seen[name][-1]:6.0f} µs")
        return {name: median(found) for name, found in seen.items()}


def _requests(server: Server, owners: Sequence[UUID], tokens: Sequence[str]) -> dict[str, list[bytes]]:
    """What is asked of a server, by name, as it goes over the wire: by all owners in turn."""
    paths = {"list": "/v1/orders", "order": "/v1/orders/{}"}
    wanted = {f"{server.name}.{what}": path for what, path in paths.items()}
    if server.name in ("empty", "counted"):
        wanted = {server.name: paths["list"]}
    return {
        name: [
            f"GET {path.format(owner)} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: load\r\nAccept: */*\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
            for owner, token in zip(owners, tokens, strict=True)
        ]
        for name, path in wanted.items()
    }


def _cost(server: Server, requests: Sequence[bytes], seconds: float) -> float:
    before = server.cpu_seconds()
    outcome = load.closed_loop(server.port, requests, connections=CONNECTIONS, seconds=seconds)
    assert set(outcome.answers) == {200}, f"{server.name} answered {dict(outcome.answers)}"
    return (server.cpu_seconds() - before) / outcome.answers[200] * 1e6
