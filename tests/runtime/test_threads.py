"""Workers of thread queues: several jobs at once in one process, and what becomes of them when it dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from rq import Queue, Worker

from jobs.kernel import keys
from jobs.kernel.outcome import State
from tests.processes import children, kill, python, running, until
from tests.road import Road
from workers import __main__ as entry

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
        time.sleep(1.5)  # so that the other is under way still when the process ends
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
