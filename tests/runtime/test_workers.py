"""Worker processes as ops run them: supervision, shutdown, and what kill -9 leaves behind."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from rq import Worker

from jobs.kernel import keys
from jobs.kernel.outcome import State
from tests.processes import children, kill, python, running, until
from tests.road import Road
from workers.lease_worker import LeaseWorker

Effects = Callable[[], dict[str, int]]
LEASE_SECONDS = 2


@contextmanager
def workers(road: Road, tmp_path: Path, *arguments: str) -> Iterator[psutil.Process]:
    """A supervisor and its workers, which know the probes; leases are short."""
    settings = road.of_worker.model_copy(update={"lease_seconds": LEASE_SECONDS})
    command = python("-m", "tests.probes", "--queues", "default,orders", *arguments)
    with running(command, settings, tmp_path / "workers.log") as process:
        until(lambda: Worker.count(connection=road.redis) > 0 or process.poll() is not None)
        yield psutil.Process(process.pid)


def test_workers_do_what_is_queued_and_what_comes(road: Road, effects: Effects, tmp_path: Path) -> None:
    first = road.submit("test.probe")
    with workers(road, tmp_path):
        until(lambda: road.status(first) is State.SUCCEEDED)
        second = road.submit("test.probe")
        until(lambda: road.status(second) is State.SUCCEEDED, 5)
    assert effects() == {str(first): 1, str(second): 1}


def test_a_worker_that_dies_is_replaced_and_its_batch_done_once(road: Road, effects: Effects, tmp_path: Path) -> None:
    ids = [road.submit("test.probe", {"do": "sleep"}) for _ in range(3)]
    with workers(road, tmp_path) as supervisor:
        until(lambda: road.status(ids[0]) is State.RUNNING)
        (child,) = children(supervisor.pid)
        kill(child)
        until(lambda: all(road.status(job_id) is State.SUCCEEDED for job_id in ids), 40)
        assert [found.pid for found in children(supervisor.pid)] != [child.pid]
    assert effects() == dict.fromkeys(map(str, ids), 1)


def test_workers_die_with_their_supervisor(road: Road, tmp_path: Path) -> None:
    with workers(road, tmp_path, "--processes", "2") as supervisor:
        until(lambda: len(children(supervisor.pid)) == 2)
        family = children(supervisor.pid)
        kill(supervisor)
        until(lambda: not any(child.is_running() for child in family), 10)


def test_sigterm_finishes_what_is_in_hand_and_leaves_the_rest(road: Road, effects: Effects, tmp_path: Path) -> None:
    with workers(road, tmp_path, "--batch", "1") as supervisor:
        ids = [road.submit("test.probe", {"do": "sleep"}) for _ in range(3)]
        until(lambda: road.status(ids[0]) is State.RUNNING)
        supervisor.terminate()
        assert psutil.wait_procs([supervisor], timeout=25)[1] == []
    assert [road.status(job_id) for job_id in ids] == [State.SUCCEEDED, State.QUEUED, State.QUEUED]
    assert effects() == {str(ids[0]): 1}
    assert Worker.count(connection=road.redis) == 0


@pytest.mark.parametrize("deed", ["segfault", "exit", "hang"])
def test_a_job_that_kills_its_worker_is_a_dead_letter_and_the_fleet_lives(
    road: Road, effects: Effects, tmp_path: Path, deed: str
) -> None:
    killer = road.submit("test.probe", {"do": deed})
    with workers(road, tmp_path, "--processes", "2"):
        others = [road.submit("test.probe") for _ in range(20)]
        until(lambda: all(road.status(job_id) is State.SUCCEEDED for job_id in others), 60)
        until(lambda: road.status(killer) is State.FAILED, 60)
    assert road.code(killer) == "worker_crashed"
    assert effects() == dict.fromkeys(map(str, others), 1)


def test_orders_survive_a_worker_killed_every_second(road: Road, tmp_path: Path) -> None:
    ids = [road.order(f"c{n}") for n in range(500)]
    random.seed(7)
    with workers(road, tmp_path, "--processes", "2", "--batch", "5") as supervisor:
        until(lambda: len(children(supervisor.pid)) == 2)
        for _ in range(4):
            time.sleep(0.5)
            kill(random.choice(children(supervisor.pid)))
            ids += [road.order(f"d{len(ids) + n}") for n in range(100)]
            time.sleep(0.5)
        until(lambda: all(road.status(job_id).final for job_id in ids), 60)
    assert {road.status(job_id) for job_id in ids} == {State.SUCCEEDED}
    assert road.rows("SELECT count(*), count(DISTINCT id) FROM orders") == [(len(ids), len(ids))]


def test_a_paused_workers_late_commit_changes_nothing(road: Road, effects: Effects, tmp_path: Path) -> None:
    job_id = road.submit("test.probe", {"do": "sleep"})
    with workers(road, tmp_path) as supervisor:
        until(lambda: road.status(job_id) is State.RUNNING)
        (child,) = children(supervisor.pid)
        child.send_signal(signal.SIGSTOP)
        try:
            time.sleep(LEASE_SECONDS + 0.5)  # its lease has run out
            with workers(road, tmp_path):
                until(lambda: road.status(job_id) is State.SUCCEEDED, 40)
        finally:
            child.send_signal(signal.SIGCONT)
        time.sleep(1)  # it does what it was about to do
        late = road.submit("test.probe")
        until(lambda: road.status(late) is State.SUCCEEDED)
    assert effects() == {str(job_id): 1, str(late): 1}


def test_a_wrong_queue_is_told_at_the_start(road: Road, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(python("-m", "workers", "--queues", "ordres"), road.of_worker, log) as process:
        assert process.wait(20) == 2
    assert "ordres" in log.read_text()


def test_every_process_has_a_name_of_its_own(road: Road, tmp_path: Path) -> None:
    with workers(road, tmp_path, "--processes", "2") as supervisor:
        until(lambda: Worker.count(connection=road.redis) == 2)
        before = {worker.name for worker in Worker.all(connection=road.redis)}
        kill(children(supervisor.pid)[0])
        until(lambda: len({worker.name for worker in Worker.all(connection=road.redis)} - before) == 1)
    assert road.redis.exists(keys.queue("default")) == 0


def test_what_a_worker_cannot_finish_in_time_it_hands_back_to_the_front(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [road.submit("test.probe") for _ in range(3)]
    worker = LeaseWorker(road.settings, ["default"], 2)
    stuck = worker._leases.reserve(["default"], 2)
    exited: list[int] = []
    monkeypatch.setattr("workers.worker.GRACE_SECONDS", 0)
    monkeypatch.setattr("workers.worker.os._exit", exited.append)
    with worker._heart.holding(stuck):
        worker._give_up_later()
    assert exited == [1]
    assert [(delivery.job_id, delivery.attempt) for delivery in road.reserve()] == [(job_id, 1) for job_id in ids]
