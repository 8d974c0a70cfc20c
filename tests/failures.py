"""Jobs that fail, as any may: their table cannot be written to, until somebody mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from jobs.kernel import keys, registry
from local.postgres import WRITER
from tests.road import Road


@contextmanager
def unwritable(execute: Callable[..., Any], table: str = "orders") -> Iterator[None]:
    """Workers have no right to add to a table, for the length of a block."""
    execute(f"REVOKE INSERT ON {table} FROM {WRITER}")
    try:
        yield
    finally:
        execute(f"GRANT INSERT ON {table} TO {WRITER}")


def use_up(road: Road, *ids: UUID | str) -> None:
    """Let these jobs, which raise, have their last try."""
    for job_id in ids:
        kind = registry.find(road.job(UUID(str(job_id)))["kind"])
        assert kind is not None
        road.redis.hset(keys.job(job_id), "attempts", kind.policy.retry.attempts - 1)
        road.make_due(UUID(str(job_id)))
    road.work()


def failed_order(road: Road, execute: Callable[..., Any], customer: str = "one", **more: Any) -> UUID:
    """An order that has failed, though nothing is wrong with it any more."""
    job_id = road.order(customer, **more)
    with unwritable(execute):
        use_up(road, job_id)
    return job_id
