"""Progress: what whoever polls a job sees of it while it is carried out, and what that may cost."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import pytest

from jobs.kernel import broker, keys, registry
from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.outcome import Outcome, State, succeeded
from jobs.kernel.policy import Policy
from jobs.kernel.ports import Conclusion, Outside
from tests.road import Road
from workers.lease_worker import LeaseWorker
from workers.outside import Services
from workers.progress import Progress
from workers.threads import ThreadWorker
from workers.work import opened
from workers.worker import Worker

TOTAL = 500


class Count(Command, kind="test.count", policy=Policy("default")):
    """Count items, report each, and look at what a client sees of it then."""

    look: ClassVar[Callable[[Job[Any]], Any]]
    seen: ClassVar[list[Any]]

    @classmethod
    def count(cls, ctx: Context, job: Job[Any]) -> Outcome:
        for done in range(TOTAL + 1):
            ctx.report(job.id, done, TOTAL)
            if done in (0, TOTAL):
                cls.seen.append(cls.look(job))
        return succeeded({"counted": TOTAL}, progress={"done": TOTAL, "total": TOTAL})

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        return [cls.count(ctx, job) for job in jobs]


class CountOutside(Command, kind="test.count_outside", policy=Policy("calls")):
    """The same, in a transaction before the last."""

    def conduct(self, outside: Outside, job: Job[Any]) -> Conclusion:
        with outside.transaction() as ctx:
            outcome = Count.count(ctx, job)
        return lambda _: outcome


KINDS = (Count, CountOutside)
for kind in KINDS:
    registry.remove(kind)


@pytest.fixture(autouse=True)
def kinds(road: Road, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Count, "look", lambda job: road.job(job.id)["progress"], raising=False)
    monkeypatch.setattr(Count, "seen", [], raising=False)
    for kind in KINDS:
        registry.add(kind)
    yield
    for kind in KINDS:
        registry.remove(kind)


def batches(road: Road) -> Worker:
    return LeaseWorker(road.of_worker, ["default"], 10)


def threads(road: Road) -> Worker:
    return ThreadWorker(road.of_worker, ["calls"], 1, Services())


@contextmanager
def silent() -> Iterator[socket.socket]:
    """A server that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def connections(server: socket.socket) -> int:
    """How many there were since this was last asked."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize(("made", "kind"), [(batches, "test.count"), (threads, "test.count_outside")])
def test_progress_shows_while_a_job_runs_and_stays_in_its_receipt(
    road: Road, made: Callable[[Road], Worker], kind: str
) -> None:
    job_id = road.submit(kind)
    assert road.job(job_id)["progress"] is None
    worker = made(road)
    worker._turn()
    worker._leave()
    done = {"done": TOTAL, "total": TOTAL}
    assert Count.seen == [{"done": 0, "total": TOTAL}, done]
    assert (road.status(job_id), road.job(job_id)["progress"]) == (State.SUCCEEDED, done)
    road.redis.flushall()
    assert road.job(job_id)["progress"] == done


def test_a_job_may_report_as_often_as_it_likes_and_few_reports_are_told(road: Road) -> None:
    road.submit("test.count")
    deliveries = road.reserve()
    before = road.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    road.execute(deliveries)
    assert road.redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before < TOTAL / 2


def test_what_is_told_of_a_lease_that_another_worker_has_by_now_is_not_heard(road: Road) -> None:
    job_id = road.submit("test.count")
    (first,) = road.reserve()
    late = road.reports([opened(first)])
    late(job_id, 1, 9)
    assert road.job(job_id)["progress"] == {"done": 1, "total": 9}
    road.expire_leases()
    assert (road.status(job_id), road.job(job_id)["progress"]) == (State.QUEUED, None)
    (second,) = road.reserve()
    road.reports([opened(second)])(job_id, 2, 9)
    late(job_id, 9, 9)
    assert road.job(job_id)["progress"] == {"done": 2, "total": 9}


def test_without_redis_a_job_is_carried_out_and_nothing_more_is_told_of_its_batch(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [road.submit("test.count") for _ in range(3)]
    monkeypatch.setattr(Count, "look", lambda job: None)
    with silent() as server:
        redis = broker.connect(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        road.executor._reports = Progress(redis).of
        road.work()
        assert connections(server) == 1
    assert {road.status(job_id) for job_id in ids} == {State.SUCCEEDED}
    assert road.redis.hexists(keys.job(ids[0]), "progress") == 0


def test_a_redis_that_refuses_harms_no_job(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = road.submit("test.count")
    monkeypatch.setattr(Count, "look", partial(wrong_type, road))
    road.execute(road.reserve())
    assert len(Count.seen) == 2
    road.redis.delete(keys.job(job_id))
    assert road.status(job_id) is State.SUCCEEDED


def wrong_type(road: Road, job: Job[Any]) -> None:
    """Put something else where a job was."""
    road.redis.delete(keys.job(job.id))
    road.redis.set(keys.job(job.id), "none")
