"""The worker of threads from inside: what it takes and when, what it holds, and what becomes of what it cannot finish."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jobs.kernel import failpoints, keys
from jobs.kernel.failpoints import LOSE, Point
from jobs.kernel.outcome import State
from tests.errands import Errand
from tests.processes import until
from tests.road import Road
from workers.heart import Heart
from workers.threads import ThreadWorker
from workers.work import opened

Counted = Callable[[], dict[str, int]]
LEASE_SECONDS = 2


def errand(road: Road, **body: Any) -> UUID:
    return road.submit("test.errand", body)


def done(road: Road, ids: list[UUID]) -> bool:
    return all(road.status(job_id) is State.SUCCEEDED for job_id in ids)


@pytest.fixture
def worker(road: Road) -> Iterator[ThreadWorker]:
    """One of two threads that does nothing by itself, and whose heart does not beat."""
    made = ThreadWorker(road.of_worker.model_copy(update={"lease_seconds": LEASE_SECONDS}), ["calls"], 2)
    yield made
    made._pool.shutdown()
    made._sessions.kw["bind"].dispose()


def test_what_a_thread_cannot_finish_in_time_is_handed_back_in_doubt(
    road: Road, worker: ThreadWorker, effects: Counted, begun: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    exited: list[int] = []
    monkeypatch.setattr("workers.worker.GRACE_SECONDS", 0)
    monkeypatch.setattr("workers.worker.os._exit", exited.append)
    ids = [errand(road, seconds=1) for _ in range(2)]
    worker._turn()
    until(lambda: len(begun()) == 2)
    worker._give_up_later()
    assert exited == [1]
    assert [road.status(job_id) for job_id in ids] == [State.QUEUED] * 2
    assert [road.redis.hget(keys.job(job_id), "in_doubt") for job_id in ids] == [b"1", b"1"]
    worker._leave()  # this process lives on, and commits what it was about to
    road.work()
    assert done(road, ids)
    assert effects() == dict.fromkeys(map(str, ids), 1)


def test_what_was_taken_when_somebody_asks_to_stop_goes_back_uncounted(
    road: Road, worker: ThreadWorker, begun: Counted
) -> None:
    job_id = errand(road)
    worker._stopping.set()
    worker._turn()
    assert (road.status(job_id), road.job(job_id)["attempts"], begun()) == (State.QUEUED, 0, {})


def test_a_lease_that_could_not_be_renewed_is_not_insisted_on(
    road: Road, worker: ThreadWorker, effects: Counted
) -> None:
    job_id = errand(road, seconds=LEASE_SECONDS + 0.1, do="insist")
    worker._turn()
    worker._leave()
    assert (road.status(job_id), road.redis.hget(keys.job(job_id), "in_doubt")) == (State.QUEUED, b"1")
    assert effects() == {}


def test_a_suspect_waits_until_nothing_is_in_flight_and_then_has_no_company(
    road: Road, worker: ThreadWorker, execute: Callable[..., Any]
) -> None:
    suspect = errand(road, seconds=0.5)
    road.reserve()
    first = errand(road, seconds=0.7)
    worker._turn()
    road.expire_leases(suspect)
    last = errand(road)

    def worked_off() -> bool:
        worker._turn()
        return done(road, [suspect, first, last])

    until(worked_off, 20)
    rows = execute("SELECT job_id::text, begun.at, effects.at FROM begun JOIN effects USING (job_id) ORDER BY begun.at")
    assert [row[0] for row in rows] == [str(first), str(suspect), str(last)]
    assert rows[0][2] <= rows[1][1]
    assert rows[1][2] <= rows[2][1]


@pytest.mark.parametrize("together", [1, 2])
def test_what_is_taken_to_be_shared_counts_no_crash(road: Road, together: int) -> None:
    for _ in range(together):
        errand(road)
    leases = road.worker()
    assert len(leases.taken(leases.ask(["calls"], 8, "shared"))) == together
    road.expire_leases()
    (delivery,) = leases.taken(leases.ask(["calls"], 8, "shared"))
    assert (delivery.suspect, delivery.crashes) == (True, 0)
    road.expire_leases()
    (delivery,) = leases.taken(leases.ask(["calls"], 8, "shared"))
    assert delivery.crashes == 1, "a suspect has no company, and is alone"


def test_without_postgresql_nothing_more_is_taken_until_it_answers(
    road: Road, begun: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = road.of_worker.model_copy(update={"write_database_url": "postgresql://millrace@127.0.0.1:1/none"})
    worker = ThreadWorker(settings, ["calls"], 2)
    looks = iter([False, True])
    asked: list[bool] = []

    def answers() -> bool:
        asked.append(road.status(job_id) is State.QUEUED)
        return next(looks)

    monkeypatch.setattr(worker._executor, "database_answers", answers)
    job_id = errand(road)
    worker._turn()
    worker._leave()
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (State.QUEUED, 0)
    worker._turn()
    worker._leave()
    assert asked == [True, True]
    assert begun() == {}


def test_each_hold_knows_by_itself_whether_its_lease_can_still_be_ours(road: Road) -> None:
    for _ in range(2):
        errand(road)
    first, second = road.reserve()
    heart = Heart(road.leases, None, 60)
    with heart.holding([first]) as lost, heart.holding([second]) as kept, heart.holding([], 0) as old:
        assert (lost.ours(), kept.ours(), old.ours()) == (True, True, time.monotonic() < 60)
        assert heart.held() == [first, second]
        road.expire_leases(first.job_id)
        heart._renew_leases()
        assert (lost.ours(), kept.ours()) == (False, True)
    assert heart.held() == []


def test_each_execution_has_a_deadline_of_its_own(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    exited: list[int] = []
    monkeypatch.setattr("workers.heart.os._exit", exited.append)
    for _ in range(2):
        errand(road)
    patient, brief = ([opened(delivery)] for delivery in road.reserve())
    heart = Heart(road.leases, None, 60)
    with heart.beating_for(patient):
        monkeypatch.setattr(Errand, "policy", replace(Errand.policy, timeout=0.1))
        with heart.beating_for(brief):
            heart._renew_leases()
            assert exited == []
            time.sleep(0.2)
            heart._renew_leases()
            assert exited == [70]
        heart._renew_leases()
        assert exited == [70]


@pytest.mark.parametrize("point", [Point.SETTLE_BEGINS, Point.SETTLE_ANSWERED])
def test_an_outcome_is_told_again_until_redis_has_heard_it(
    road: Road, worker: ThreadWorker, effects: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: Point
) -> None:
    monkeypatch.setattr(failpoints, "_armed", {})
    failpoints.arm(f"{point}={LOSE}@{tmp_path / 'latch'}")
    job_id = errand(road)
    worker._turn()
    worker._leave()
    assert (tmp_path / "latch").exists()
    assert road.redis.hget(keys.job(job_id), "state") == b"succeeded"
    assert effects() == {str(job_id): 1}


def test_what_was_taken_in_a_reply_that_never_came_goes_back_first(
    road: Road, worker: ThreadWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoints, "_armed", {})
    failpoints.arm(f"{Point.RESERVE_ANSWERED}={LOSE}@{tmp_path / 'latch'}")
    job_id = errand(road)
    worker._try(worker._turn)
    assert road.redis.hget(keys.job(job_id), "state") == b"running"
    worker._turn()
    worker._leave()
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (State.SUCCEEDED, 1)
