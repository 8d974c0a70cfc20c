"""Whether work stays as fast as the amounts grow: a large backlog, and a table with many orders in it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.drain import Load, drain
from benchmarks.servers import Servers
from benchmarks.system import System
from benchmarks.systems.work import owner

SMALL = 100_000
"""The backlog that the large ones are compared with."""

AT_ONCE = 1_000_000

DRAIN_WITHIN = 400
SECONDARY_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
WHERE tablename = 'orders' AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""
STORE = """
INSERT INTO orders (id, owner_id, customer_id, services, total_fee, created_at, updated_at)
SELECT uuidv7(make_interval(secs => -%(age)s)), %(owner)s, 'customer-' || number %% 10000, '{123,456}', 100,
       now() - make_interval(secs => %(age)s), now() - make_interval(secs => %(age)s)
FROM generate_series(1, %(count)s) AS number
"""


@dataclass(frozen=True)
class Growth:
    """Orders per second, 2 worker processes: with a small backlog, with a large one, and with many orders stored."""

    small: float
    pending: float
    stored: float


def growth(system: System, *, pending: int, stored: int) -> Growth:
    """Drain a backlog of SMALL, one of `pending`, and SMALL again beside `stored` orders. Raises RuntimeError where a
    job is without its row, or time ran out."""
    small = _rate(system, Load(SMALL, DRAIN_WITHIN))
    large = _rate(system, Load(pending, DRAIN_WITHIN))
    system.servers.empty()
    store_orders(system.servers, stored)
    beside = _rate(system, Load(SMALL, DRAIN_WITHIN, beside_stored=True))
    system.servers.empty()
    return Growth(small, large, beside)


def _rate(system: System, load: Load) -> float:
    print(f"  Millrace, 2 processes, {load.jobs:,} jobs pending", flush=True)
    done = drain(system, "two", load)
    if done.cut or not done.whole:
        raise RuntimeError(f"of {done.jobs} jobs, {done.rows} rows and {done.results} results came in time")
    return done.orders


def store_orders(servers: Servers, count: int) -> None:
    """Fill the table with orders of the same customers, a day old and more, and its indexes as if they had grown."""
    with_definitions = servers.rows(SECONDARY_INDEXES)
    for name, _ in with_definitions:
        servers.rows(f'DROP INDEX "{name}"')
    for part in range(0, count, AT_ONCE):
        some = min(AT_ONCE, count - part)
        servers.rows(STORE, {"owner": owner(0), "age": 86_400 + count - part, "count": some})
        print(f"  {part + some:,} orders stored", flush=True)
    for _, definition in with_definitions:
        servers.rows(definition)
    servers.rows("VACUUM ANALYZE orders")
