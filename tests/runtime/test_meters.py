"""Meters: what processes count is added up once, whatever happens on the way, and what workers measure is what they did."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from redis import Redis

from jobs.kernel import broker, keys
from jobs.kernel.counting import Counting
from jobs.kernel.meters import BATCH, FINISHED, RUN, WAIT
from jobs.kernel.outcome import State
from jobs.kernel.tally import MOST, Tally, tally
from local.redis import Redis as Server
from tests.processes import environment, python, running, until
from tests.road import Road
from workers.heart import Heart
from workers.leases import Delivery
from workers.report import report
from workers.work import opened

Fields = dict[str, int]


@pytest.fixture(autouse=True)
def nothing_counted(road: Road) -> None:
    """What tests before this one have counted is nobody's."""
    tally.forget()


@pytest.fixture
def counted(road: Road) -> Callable[[str], Fields]:
    """The fields of what is counted of all that begin with a word, less that word."""

    def fields(word: str) -> Fields:
        found = road.redis.hgetall(keys.METERS)
        return {
            name.decode().partition("|")[2]: int(value)
            for name, value in found.items()
            if name.decode().split("|")[0] == word
        }

    return fields


@pytest.fixture
def of_worker(road: Road) -> Iterator[Redis]:
    """Redis with the rights of a worker, and little patience."""
    client = broker.connect(road.redis_as("worker"))
    yield client
    client.close()


def test_nothing_is_lost_between_threads_that_count_and_one_that_adds_up() -> None:
    notes, sums = Tally(), dict[str, int]()
    with ThreadPoolExecutor(4) as threads:
        noting = [threads.submit(lambda: [notes.count(FINISHED, "a", n % 3) for n in range(9_000)]) for _ in range(4)]
        while not all(done.done() for done in noting):
            for field, amount in notes.take().items():
                sums[field] = sums.get(field, 0) + amount
    for field, amount in notes.take().items():
        sums[field] = sums.get(field, 0) + amount
    assert sums == {f"outcomes|a|{n}": 12_000 for n in range(3)}


def test_what_was_measured_stands_in_its_bucket_and_in_the_sum() -> None:
    notes = Tally()
    notes.measure(BATCH, (1, 2, 3, 5, 1000, 1001), "orders")
    notes.measure(BATCH, [5], "orders")
    notes.measure(WAIT, (0.0, 0.005, 0.0051, 4000), "orders.place")
    assert notes.take() == {
        "batch|orders|1": 1,
        "batch|orders|2": 1,
        "batch|orders|5": 3,
        "batch|orders|1000": 1,
        "batch|orders|+Inf": 1,
        "batch|orders|sum": 2017_000_000,
        "wait|orders.place|0.005": 2,
        "wait|orders.place|0.01": 1,
        "wait|orders.place|+Inf": 1,
        "wait|orders.place|sum": 4_000_010_100,
    }
    assert notes.take() == {}


def test_notes_that_nobody_adds_up_are_bounded() -> None:
    notes = Tally()
    for _ in range(MOST + 10):
        notes.count(FINISHED, "a", "b")
    assert notes.take() == {"outcomes|a|b": MOST}


def test_many_processes_add_to_one_sum(of_worker: Redis, counted: Callable[[str], Fields]) -> None:
    for times in (1, 2, 3):
        notes = Tally()
        counting = Counting(of_worker, notes)
        for _ in range(times):
            notes.count(FINISHED, "a", "b", by=10)
            notes.measure(RUN, (1.5,), "a")
            counting.add()
        counting.add()
    assert counted("outcomes") == {"a|b": 60}
    assert counted("run") == {"a|2.5": 6, "a|sum": 9_000_000}


def test_what_was_added_and_never_answered_is_not_added_again(
    redis_server: Server, of_worker: Redis, counted: Callable[[str], Fields]
) -> None:
    """Redis, stopped for longer than anybody waits, does what it was asked when it goes on."""
    notes, server = Tally(), psutil.Process(redis_server.pid)
    counting = Counting(of_worker, notes)
    notes.count(FINISHED, "a", "b")
    counting.add()
    notes.count(FINISHED, "a", "b", by=2)
    server.suspend()
    try:
        counting.add()
    finally:
        server.resume()
    notes.count(FINISHED, "a", "b", by=4)
    until(lambda: counted("outcomes") == {"a|b": 3}, 5)
    for _ in range(2):
        counting.add()
        assert counted("outcomes") == {"a|b": 7}


def test_what_redis_does_not_take_is_kept_until_it_does(
    road: Road, of_worker: Redis, counted: Callable[[str], Fields]
) -> None:
    notes = Tally()
    counting = Counting(of_worker, notes)
    road.redis.set(keys.METERS, "of another type")
    for _ in range(3):
        notes.count(FINISHED, "a", "b")
        counting.add()
    road.redis.delete(keys.METERS)
    counting.add()
    assert counted("outcomes") == {"a|b": 3}


def test_in_a_full_redis_what_is_counted_goes_on_being_added(
    road: Road, of_worker: Redis, counted: Callable[[str], Fields]
) -> None:
    notes = Tally()
    counting = Counting(of_worker, notes)
    notes.count(FINISHED, "a", "b")
    counting.add()
    before = road.redis.config_get("maxmemory")["maxmemory"]
    road.redis.config_set("maxmemory", 1)
    try:
        notes.count(FINISHED, "a", "b")
        counting.add()
        assert counted("outcomes") == {"a|b": 2}
    finally:
        road.redis.config_set("maxmemory", before)


FORKING = """
import os, sys, time
from jobs.kernel import broker
from jobs.kernel.counting import Counting
from jobs.kernel.meters import FINISHED
from jobs.kernel.tally import tally
counting = Counting(broker.connect(sys.argv[1]))
tally.count(FINISHED, "parent", "x")
counting.go_on()
if not (child := os.fork()):
    tally.count(FINISHED, "child", "x")
    counting.go_on()
    sys.exit(0)
os.waitpid(child, 0)
sys.exit(0)
"""


def test_a_process_that_is_forked_off_counts_for_itself_and_both_add_up_when_they_end(
    road: Road, counted: Callable[[str], Fields]
) -> None:
    subprocess.run(
        python("-c", FORKING, road.redis_as("worker")), env=environment(road.settings), timeout=30, check=True
    )
    assert counted("outcomes") == {"parent|x": 1, "child|x": 1}


class Batches:
    """A worker of batches, in this process: what it takes is carried out, settled and reported."""

    def __init__(self, road: Road) -> None:
        self.road = road
        self.counting = Counting(road.redis)

    def work(self, most: int = 100) -> None:
        while deliveries := self.road.reserve(most):
            self.carry_out(deliveries)
        self.counting.add()

    def carry_out(self, deliveries: list[Delivery], *, settles: bool = True) -> None:
        works = [opened(delivery) for delivery in deliveries]
        settlements = self.road.executor.run(works)
        if settles:
            self.road.leases.settle(settlements)
        report(works, settlements, "w", 0.02)
        self.counting.add()


@pytest.fixture
def batches(road: Road) -> Batches:
    return Batches(road)


def test_each_execution_is_measured_and_each_end(
    road: Road, batches: Batches, counted: Callable[[str], Fields]
) -> None:
    again = road.submit("test.probe", {"do": "raise once"})
    for deed in ("nothing", "reject", "fail", "cancel"):
        road.submit("test.probe", {"do": deed})
    batches.work()
    road.make_due(again)
    batches.work()
    assert {part: sum(amount for field, amount in counted(part).items() if not field.endswith("sum")) for part in
            ("wait", "run", "whole")} == {"wait": 6, "run": 6, "whole": 5}  # fmt: skip
    assert counted("run") == {"test.probe|0.025": 6, "test.probe|sum": 120_000}
    assert counted("batch") == {"default|5": 1, "default|1": 1, "default|sum": 6_000_000}
    assert counted("errors") == {"test.probe|asked_for": 2}
    assert counted("retries") == {"test.probe": 1}
    assert counted("outcomes") == {
        f"test.probe|{state}": times
        for state, times in (("succeeded", 2), ("rejected", 1), ("failed", 1), ("canceled", 1))
    }


@pytest.mark.parametrize(
    ("waited", "told"), [({}, 100), ({"run_at": timedelta(seconds=40)}, 60), ({"run_at": timedelta(hours=1)}, 0)]
)
def test_a_wait_begins_when_a_job_is_sent_or_due(
    road: Road, batches: Batches, counted: Callable[[str], Fields], waited: dict[str, timedelta], told: int
) -> None:
    """It is sent 100 s ago, and was due so much later."""
    sent = datetime.now(UTC) - timedelta(seconds=100)
    job_id = road.submit("test.probe", run_at=datetime.now(UTC) + timedelta(days=1) if waited else None)
    road.redis.hset(keys.job(job_id), "created_at", sent.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    if waited:
        road.redis.hset(keys.job(job_id), "due", int((sent + waited["run_at"]).timestamp() * 1_000_000))
        road.make_due(job_id)
    batches.work()
    for word in ("wait", "whole"):
        assert counted(word)["test.probe|sum"] / 1_000_000 == pytest.approx(told, abs=30)


def test_a_job_canceled_before_it_was_taken_has_an_end_and_no_execution(
    road: Road, batches: Batches, counted: Callable[[str], Fields]
) -> None:
    from jobs.kernel.cancel import Canceler

    Canceler(road.redis).cancel(road.submit("test.probe"))
    batches.work()
    assert counted("outcomes") == {"test.probe|canceled": 1}
    assert (counted("wait"), counted("run"), counted("batch")) == ({}, {}, {})
    assert len(counted("whole")) == 2


def test_what_only_met_its_receipt_is_not_measured_again(
    road: Road, batches: Batches, counted: Callable[[str], Fields]
) -> None:
    road.submit("test.probe", {"do": "reject"})
    batches.carry_out(road.reserve(), settles=False)
    road.expire_leases()
    batches.work()
    assert counted("outcomes") == {"test.probe|rejected": 1}
    assert sum(amount for field, amount in counted("whole").items() if not field.endswith("sum")) == 1
    assert sum(amount for field, amount in counted("run").items() if not field.endswith("sum")) == 1
    assert counted("errors") == {"test.probe|asked_for": 1}
    assert counted("reaped") == {"default": 1}


def test_what_could_not_be_tried_is_not_measured(
    road: Road, counted: Callable[[str], Fields], monkeypatch: pytest.MonkeyPatch
) -> None:
    road.submit("test.probe")
    cut_off = Batches(road.with_settings(write_database_url="postgresql://nobody@127.0.0.1:1/none"))
    cut_off.carry_out(cut_off.road.reserve())
    assert [counted(word) for word in ("wait", "run", "whole", "batch", "outcomes")] == [{}] * 5
    cut_off.road.close()


def test_a_kind_that_nobody_declared_is_measured_as_unknown(
    road: Road, batches: Batches, counted: Callable[[str], Fields]
) -> None:
    job_id = road.submit("test.probe")
    key = keys.job(job_id)
    data = road.redis.hget(key, "data")
    assert data is not None
    road.redis.hset(key, "data", data.replace(b"test.probe", b"made.up.by.somebody"))
    batches.work()
    assert counted("errors") == {"unknown|kind_unknown": 1}
    assert {field.split("|")[0] for word in ("wait", "run", "whole") for field in counted(word)} == {"unknown"}


def test_an_execution_that_outlasts_its_time_is_counted_before_the_process_ends(
    road: Road, counted: Callable[[str], Fields], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_end: list[Fields] = []
    monkeypatch.setattr("workers.heart.os._exit", lambda _: at_the_end.append(counted("timeouts")))
    monkeypatch.setattr("workers.heart._time_allowed", lambda _: -1)
    road.submit("test.probe")
    heart = Heart(road.leases, None, 60, Counting(road.redis))
    with heart.beating_for([opened(delivery) for delivery in road.reserve()]):
        heart._renew_leases()
    assert at_the_end == [{"test.probe": 1}]


def test_leases_that_were_lost_are_counted(road: Road, counted: Callable[[str], Fields]) -> None:
    for _ in range(3):
        road.submit("test.probe")
    heart = Heart(road.leases, None, 0.001, Counting(road.redis))
    with heart.holding(road.reserve()):
        road.expire_leases()
        heart._renew_leases()
        heart._add_up()
    assert counted("lost") == {"default": 3}


@pytest.mark.parametrize(("way", "kind"), [("batch", "test.probe"), ("threads", "test.parcel")])
def test_a_worker_process_adds_up_what_it_counts_and_the_rest_when_it_stops(
    road: Road, counted: Callable[[str], Fields], tmp_path: Path, way: str, kind: str
) -> None:
    queue = {"batch": "default", "threads": "deliveries"}[way]
    command = python("-m", "tests.probes", "--queues", queue)
    first = road.submit(kind)
    with running(command, road.of_worker, tmp_path / "log") as process:
        until(lambda: bool(counted("whole")))
        assert road.status(first) is State.SUCCEEDED
        last = [road.submit(kind, {"do": "raise"}), road.submit(kind)]
        until(lambda: road.status(last[1]) is State.SUCCEEDED and road.status(last[0]) is State.SCHEDULED)
        process.terminate()
        process.wait(30)
    assert sum(amount for field, amount in counted("run").items() if not field.endswith("sum")) == 3
    assert sum(amount for field, amount in counted("whole").items() if not field.endswith("sum")) == 2
    assert counted("logged") == {"error|job_raised": 1}
