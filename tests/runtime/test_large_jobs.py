"""Jobs as large as a body may be: they go the same road, if one at a time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from jobs.kernel import keys, registry
from jobs.kernel.command import MOST_BYTES, Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Failed
from jobs.kernel.outcome import State
from jobs.kernel.policy import Policy
from tests.road import Road


class Crate(Command, kind="test.crate", policy=Policy("default"), most_bytes=MOST_BYTES):
    """Give back half of what is in it."""

    content: str
    fragile: bool = False

    def handle(self, ctx: Context, job: Job[Any]) -> Any:
        if self.fragile:
            raise Failed("It fell.", code="broken")
        return {"half": self.content[::2]}


registry.remove(Crate)


@pytest.fixture(autouse=True)
def crates() -> Iterator[None]:
    registry.add(Crate)
    yield
    registry.remove(Crate)


def crate(road: Road, **more: Any) -> UUID:
    return road.submit("test.crate", {"content": secrets.token_hex(MOST_BYTES // 2 - 50)} | more)


def test_a_large_job_is_taken_alone_renewed_and_done(road: Road) -> None:
    before, ids, after = road.submit("test.probe"), [crate(road), crate(road)], road.submit("test.probe")
    (first,) = road.reserve()
    assert first.job_id == before
    for job_id in ids:
        (delivery,) = road.reserve()
        assert delivery.job_id == job_id
        assert len(delivery.data) > 0.99 * MOST_BYTES
        assert road.leases.renew([delivery]) == set()
        road.leases.settle(road.execute([delivery]))
        assert road.status(job_id) is State.SUCCEEDED
        assert len(road.job(job_id)["result"]["half"]) > 0.49 * MOST_BYTES
        assert road.redis.memory_usage(keys.job(job_id)) < 10_000
    assert [delivery.job_id for delivery in road.reserve()] == [after]


def test_a_large_job_that_fails_can_be_told_from_its_receipt_alone(road: Road) -> None:
    job_id = crate(road, fragile=True)
    road.work()
    assert (road.status(job_id), road.code(job_id)) == (State.FAILED, "broken")
    (kept,) = road.rows("SELECT length(envelope #>> '{body,content}') FROM receipts")
    assert kept[0] > 0.99 * MOST_BYTES
    road.redis.flushall()
    assert road.code(job_id) == "broken"
