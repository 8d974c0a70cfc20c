"""Workers of thread queues: several jobs at once in one process, and what becomes of them when it dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from rq import Queue, Worker

from jobs.kernel import failpoints, keys
from jobs.kernel.failpoints import LOSE, Point
from jobs.kernel.outcome import State
from tests.errands import Errand
from tests.processes import children, kill, python, running, until
from tests.road import Road
from workers import __main__ as entry
from workers.heart import Heart
from workers.threads import ThreadWorker
from workers.work import opened

Counted = Callable[[], dict[str, int]]
LEASE_SECONDS = 2


@contextmanager
def workers(road: Road, tmp_path: Path, *arguments: str) -> Iterator[psutil.Process]:
    """A supervisor and its worker of threads, which knows the probes; leases are short."""
    settings = road.of_worker.model_copy(update={"lease_seconds": LEASE_SECONDS})
    command = python("-m", "tests.probes", "--queues", "calls,deliveries", *arguments)
    with running(command, settings, tmp_path / "workers.log") as process:
        until(lambda: Worker.count(connection=road.redis) > 0 or process.poll() is not None)
        yield psutil.Process(process.pid)


def errand(road: Road, **body: Any) -> UUID:
    return road.submit("test.errand", body)


def done(road: Road, ids: list[UUID]) -> bool:
    return all(road.status(job_id) is State.SUCCEEDED for job_id in ids)


def test_jobs_are_carried_out_side_by_side_in_one_process(road: Road, effects: Counted, tmp_path: Path) -> None:
    """None of them ends before all have begun."""
    with workers(road, tmp_path, "--threads", "4"):
        ids = [errand(road, do="meet", others=4) for _ in range(4)]
        until(lambda: done(road, ids))
    assert effects() == dict.fromkeys(map(str, ids), 1)
    assert {road.job(job_id)["attempts"] for job_id in ids} == {1}


def test_no_more_are_begun_than_there_are_threads(road: Road, begun: Counted, tmp_path: Path) -> None:
    ids = [errand(road, seconds=1.5) for _ in range(3)]
    with workers(road, tmp_path, "--threads", "2"):
        until(lambda: len(begun()) == 2)
        time.sleep(0.3)
        assert (len(begun()), road.status(ids[2])) == (2, State.QUEUED)
        until(lambda: done(road, ids))


def test_a_backlog_is_done_however_few_wake_up_tokens_there_are(road: Road, effects: Counted, tmp_path: Path) -> None:
    ids = [road.submit("test.parcel") for _ in range(100)]
    road.redis.delete(keys.wake("deliveries"))
    with workers(road, tmp_path):
        until(lambda: done(road, ids), 20)
    assert effects() == dict.fromkeys(map(str, ids), 1)


def test_the_lease_of_a_job_that_takes_longer_is_renewed(road: Road, begun: Counted, tmp_path: Path) -> None:
    with workers(road, tmp_path):
        job_id = errand(road, seconds=LEASE_SECONDS + 0.7, do="insist")
        until(lambda: road.status(job_id) is State.SUCCEEDED)
    assert begun() == {str(job_id): 1}


def test_workers_of_threads_are_registered_and_show_their_queues(road: Road, tmp_path: Path) -> None:
    with workers(road, tmp_path, "--processes", "2"):
        until(lambda: Worker.count(queue=Queue("calls", connection=road.redis)) == 2)
    assert Worker.count(connection=road.redis) == 0


def test_jobs_in_flight_when_their_process_is_killed_run_again_and_end_once(
    road: Road, effects: Counted, begun: Counted, tmp_path: Path
) -> None:
    ids = [errand(road, seconds=1) for _ in range(4)]
    with workers(road, tmp_path, "--threads", "4") as supervisor:
        until(lambda: len(begun()) == 4)
        kill(children(supervisor.pid)[0])
        until(lambda: done(road, ids), 40)
    assert effects() == dict.fromkeys(map(str, ids), 1)
    assert begun() == dict.fromkeys(map(str, ids), 2)
    assert len(road.rows("SELECT id FROM receipts")) == 4


def test_a_job_that_kills_its_process_is_dead_after_three_deaths_alone_and_its_neighbours_succeed(
    road: Road, effects: Counted, begun: Counted, tmp_path: Path
) -> None:
    road.expire_leases()  # there are none; the reaper has seen this Redis, so that every death counts from the first on
    before = [errand(road, seconds=0.5)]
    killer = errand(road, seconds=0.2, do="exit")
    after = [errand(road, seconds=0.5) for _ in range(4)]
    with workers(road, tmp_path, "--threads", "2"):
        until(lambda: done(road, before + after), 60)
        until(lambda: road.status(killer) is State.FAILED, 60)
    assert road.code(killer) == "worker_crashed"
    assert begun()[str(killer)] == 4, "once in company, and three times alone"
    assert effects() == dict.fromkeys(map(str, before + after), 1)


def test_a_job_that_takes_too_long_ends_the_process_and_the_others_come_back(
    road: Road, effects: Counted, begun: Counted, tmp_path: Path
) -> None:
    with workers(road, tmp_path, "--threads", "2") as supervisor:
        (first,) = children(supervisor.pid)
        stuck = errand(road, do="hang")
        until(lambda: str(stuck) in begun())
        time.sleep(1.5)
        other = errand(road, seconds=2.5)
        until(lambda: done(road, [stuck, other]), 40)
        assert not first.is_running()
    assert begun() == {str(stuck): 2, str(other): 2}
    assert effects() == {str(stuck): 1, str(other): 1}
    assert "execution_timed_out" in (tmp_path / "workers.log").read_text()


def test_sigterm_finishes_what_is_in_flight_and_leaves_the_rest(
    road: Road, effects: Counted, begun: Counted, tmp_path: Path
) -> None:
    with workers(road, tmp_path, "--threads", "2") as supervisor:
        ids = [errand(road, seconds=1.5) for _ in range(3)]
        until(lambda: len(begun()) == 2)
        supervisor.terminate()
        assert psutil.wait_procs([supervisor], timeout=25)[1] == []
    assert [road.status(job_id) for job_id in ids] == [State.SUCCEEDED, State.SUCCEEDED, State.QUEUED]
    assert effects() == {str(job_id): 1 for job_id in ids[:2]}
    assert road.redis.zcard(keys.leases("calls")) == 0


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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--queues", "orders,calls"], "queues of threads (calls)"),
        (["--queues", "orders", "--threads", "4"], "--threads is for"),
        (["--queues", "calls", "--batch", "4"], "--batch is for"),
        (["--queues", "calls", "--threads", "0"], "1 or more"),
    ],
)
def test_a_command_line_that_mixes_both_ways_is_refused_with_the_reason(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        entry.main(arguments)
    assert refused.value.code == 2
    assert reason in capsys.readouterr().err
