"""Cancel, in the kernel: what no worker ever had is over at once; the rest ends as a worker can still decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.kernel import keys, registry
from jobs.kernel.cancel import Canceled
from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job as OurJob
from jobs.kernel.errors import Cancelled
from jobs.kernel.outcome import Outcome, State, succeeded
from jobs.kernel.policy import Policy, Priority
from jobs.kernel.submit import new_id
from tests.failures import unwritable
from tests.road import Road
from tests.runtime.test_rq import stock_worker
from workers.leases import Delivery
from workers.settle import HandBack, Settlement

Counted = Callable[[], dict[str, int]]
LATER = timedelta(hours=1)


def receipts(road: Road) -> list[tuple[str, str, int, int]]:
    rows = road.rows("SELECT id::text, state, run, attempts FROM receipts ORDER BY submitted_at, id")
    return [(row.id, row.state, row.run, row.attempts) for row in rows]


def finish(road: Road, deliveries: list[Delivery]) -> None:
    road.leases.settle(road.execute(deliveries))


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("ahead", [timedelta(0), LATER])
def test_what_no_worker_had_is_over_at_once_and_a_worker_writes_it_down(
    road: Road, effects: Counted, priority: Priority, ahead: timedelta
) -> None:
    run_at = datetime.now(UTC) + ahead if ahead else None
    job_id = road.submit("test.probe", priority=priority, run_at=run_at)
    assert road.cancel(job_id) is Canceled.CANCELED
    told = road.job(job_id)
    assert told["status"] == "canceled"
    assert road.redis.zscore(keys.SCHEDULED, str(job_id)) is None
    assert road.work() == 1
    assert road.job(job_id) == told
    assert receipts(road) == [(str(job_id), "canceled", 1, 0)]
    assert effects() == {}


def test_it_leaves_nothing_but_its_hash_which_expires(road: Road) -> None:
    job_id = road.submit("test.probe")
    road.cancel(job_id)
    road.work()
    assert road.redis.exists(keys.live_jobs(road.owner), keys.OWNERS, keys.leases("default"), "rq:wip:default") == 0
    assert 0 < road.redis.ttl(keys.job(job_id)) <= road.settings.final_ttl_seconds
    assert road.redis.zscore("rq:canceled:default", str(job_id))
    assert Job.fetch(str(job_id), connection=road.redis, serializer=JSONSerializer).is_canceled


def test_it_outlives_all_that_redis_knows_once_it_is_written_down(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.probe")
    road.cancel(job_id)
    told = road.job(job_id)
    road.work()
    road.redis.flushall()
    assert road.job(job_id) == told
    road.submit("test.probe", id=job_id)  # sent again under its key
    road.work()
    assert road.job(job_id) == told
    assert effects() == {}


def test_who_asks_twice_is_told_that_it_is_over(road: Road) -> None:
    job_id = road.submit("test.probe")
    assert [road.cancel(job_id) for _ in range(2)] == [Canceled.CANCELED, Canceled.FINAL]
    road.work()
    assert road.cancel(job_id) is Canceled.FINAL


def test_what_redis_does_not_have_cannot_be_canceled(road: Road) -> None:
    assert road.cancel(new_id()) is Canceled.GONE
    assert road.redis.keys("rq:job:*") == []


def test_what_a_worker_has_ends_as_that_can_still_decide(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.probe")
    deliveries = road.reserve()
    assert [road.cancel(job_id) for _ in range(2)] == [Canceled.ASKED] * 2
    assert road.status(job_id) is State.RUNNING
    finish(road, deliveries)
    assert receipts(road) == [(str(job_id), "succeeded", 1, 1)]
    assert effects() == {str(job_id): 1}
    assert road.cancel(job_id) is Canceled.FINAL


@pytest.mark.parametrize("do", ["raise", "snooze"])
def test_what_waits_for_its_next_try_is_canceled_by_the_next_worker(road: Road, effects: Counted, do: str) -> None:
    job_id = road.submit("test.probe", {"do": do})
    road.work()
    assert road.status(job_id) is State.SCHEDULED
    assert road.cancel(job_id) is Canceled.ASKED
    assert (road.status(job_id), road.redis.zcard(keys.SCHEDULED)) == (State.QUEUED, 0)
    road.work()
    assert road.status(job_id) is State.CANCELED
    assert effects() == {}


def test_what_was_asked_for_while_a_worker_puts_it_off_does_not_wait(road: Road) -> None:
    job_id = road.submit("test.probe", {"do": "snooze"})
    deliveries = road.reserve()
    road.cancel(job_id)
    finish(road, deliveries)
    assert road.status(job_id) is State.QUEUED
    road.work()
    assert road.status(job_id) is State.CANCELED


def test_what_a_worker_hands_back_is_canceled_by_the_next(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.probe")
    deliveries = road.reserve()
    road.leases.settle([Settlement(delivery, HandBack()) for delivery in deliveries])
    assert road.cancel(job_id) is Canceled.ASKED, "a worker had it, and may have done whatever it does"
    road.work()
    assert receipts(road) == [(str(job_id), "canceled", 1, 1)]
    assert effects() == {}


def test_a_worker_that_dies_with_it_leaves_it_to_the_next(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.probe")
    road.reserve()
    road.cancel(job_id)
    road.expire_leases()
    road.work()
    assert receipts(road) == [(str(job_id), "canceled", 1, 2)]
    assert effects() == {}


def test_what_was_committed_before_its_worker_died_has_succeeded(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.probe")
    road.execute(road.reserve())
    assert road.ledger.decided(job_id) is not None, "whoever looks first sees that it is over"
    assert road.cancel(job_id) is Canceled.ASKED
    road.expire_leases()
    road.work()
    assert receipts(road) == [(str(job_id), "succeeded", 1, 1)]
    assert effects() == {str(job_id): 1}


@pytest.mark.parametrize("committed", [False, True])
def test_a_worker_that_dies_as_it_writes_it_down_makes_no_second_receipt(road: Road, committed: bool) -> None:
    job_id = road.submit("test.probe")
    road.cancel(job_id)
    deliveries = road.reserve()
    if committed:
        road.execute(deliveries)
    told = road.job(job_id)
    road.expire_leases()
    assert road.status(job_id) is State.CANCELED, "it is never seen to be anything else again"
    road.work()
    assert receipts(road) == [(str(job_id), "canceled", 1, 0)]
    assert road.job(job_id) == told
    assert road.redis.exists(keys.leases("default")) == 0


@pytest.mark.parametrize("turn", range(8))
def test_of_fifty_who_cancel_while_a_worker_takes_it_none_is_told_otherwise_than_it_is(
    road: Road, effects: Counted, turn: int
) -> None:
    ids = [road.submit("test.probe") for _ in range(5)]
    with ThreadPoolExecutor(12) as pool:
        work = pool.submit(road.work, 1 + turn % 3)
        words = list(pool.map(lambda at: (ids[at % 5], road.cancel(ids[at % 5])), range(50)))
        work.result()
    road.work()
    states = {UUID(job_id): state for job_id, state, _, _ in receipts(road)}
    for job_id in ids:
        told = [word for of, word in words if of == job_id]
        assert told.count(Canceled.CANCELED) <= 1
        assert states[job_id] in (("canceled",) if Canceled.CANCELED in told else ("canceled", "succeeded"))
        assert road.status(job_id) == states[job_id]
    assert effects() == {str(job_id): 1 for job_id, state in states.items() if state == "succeeded"}


def test_in_a_paused_queue_it_is_over_at_once_and_written_down_later(road: Road) -> None:
    had, new = road.submit("test.probe"), road.submit("test.probe")
    deliveries = road.reserve(1)
    road.leases.settle([Settlement(delivery, HandBack()) for delivery in deliveries])
    road.redis.sadd(keys.PAUSED, "default")
    assert (road.cancel(had), road.cancel(new)) == (Canceled.ASKED, Canceled.CANCELED)
    assert road.work() == 0
    assert (road.status(had), road.status(new)) == (State.QUEUED, State.CANCELED)
    road.redis.srem(keys.PAUSED, "default")
    road.work()
    assert [state for _, state, _, _ in receipts(road)] == ["canceled"] * 2


def test_what_is_under_way_goes_on_and_is_not_asked_anew_all_the_time(road: Road, begun: Counted) -> None:
    job_id = road.submit("test.errand", {"end": "snooze"})
    road.work()
    assert (road.status(job_id), begun()) == (State.SCHEDULED, {str(job_id): 1})
    assert road.cancel(job_id) is Canceled.ASKED
    assert road.work() == 1, "the next worker answers: it goes on"
    assert (road.status(job_id), begun()) == (State.SCHEDULED, {str(job_id): 2})
    assert road.cancel(job_id) is Canceled.ASKED
    assert road.work() == 0, "that was answered"
    road.make_due(job_id)
    assert road.work() == 1
    assert begun() == {str(job_id): 3}


def test_what_was_not_begun_outside_is_not(road: Road, begun: Counted) -> None:
    job_id = road.submit("test.errand")
    road.leases.settle([Settlement(delivery, HandBack()) for delivery in road.reserve()])
    road.cancel(job_id)
    road.work()
    assert receipts(road) == [(str(job_id), "canceled", 1, 1)]
    assert begun() == {}


def test_a_new_run_of_what_failed_is_asked_to_end_for_a_worker_had_it(road: Road) -> None:
    job_id = road.submit("test.probe", {"do": "fail"})
    road.work()
    road.rerun(job_id)
    assert road.cancel(job_id) is Canceled.ASKED
    road.work()
    assert receipts(road) == [(str(job_id), "canceled", 2, 1)]


def test_it_is_canceled_whatever_has_become_of_its_senders_right(road: Road, execute: Callable[..., Any]) -> None:
    job_id = road.submit("test.probe", {"do": "raise"})
    road.work()
    execute("UPDATE users SET disabled_at = now() WHERE id = %s", str(road.owner))
    road.cancel(job_id)
    road.work()
    assert road.status(job_id) is State.CANCELED


def test_a_stock_worker_writes_it_down_too(road: Road, execute: Callable[..., Any]) -> None:
    had = road.order("had")
    with unwritable(execute):
        road.work()
    new, fine = road.order("new"), road.order("fine")
    assert (road.cancel(had), road.cancel(new)) == (Canceled.ASKED, Canceled.CANCELED)
    stock_worker(road, "orders")
    assert receipts(road) == [
        (str(had), "canceled", 1, 2),
        (str(new), "canceled", 1, 0),
        (str(fine), "succeeded", 1, 1),
    ]
    assert [road.status(job_id) for job_id in (had, new)] == [State.CANCELED] * 2


class Quits(Command, kind="test.quits", policy=Policy("default")):
    """Say of a set that it was canceled, and not of whom."""

    quits: bool

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[OurJob[Any]]) -> Sequence[Outcome]:
        if any(job.command.quits for job in jobs):
            raise Cancelled
        return [succeeded() for _ in jobs]


registry.remove(Quits)


@pytest.fixture
def quits() -> Iterator[None]:
    registry.add(Quits)
    yield
    registry.remove(Quits)


def test_a_set_that_says_it_was_canceled_is_halved_until_it_is_known_of_whom(road: Road, quits: None) -> None:
    ids = [road.submit("test.quits", {"quits": number == 2}) for number in range(5)]
    assert road.work() == 5
    states = [road.status(job_id) for job_id in ids]
    assert states == [State.CANCELED if number == 2 else State.SUCCEEDED for number in range(5)]
