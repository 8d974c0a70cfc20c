"""RQ's own formats and tools, and the traps in them that were reproduced against RQ 2.12."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from rq import Queue
from rq.job import Job
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry, clean_registries
from rq.serializers import JSONSerializer

from jobs.kernel import broker, keys
from jobs.kernel.outcome import State
from jobs.kernel.submit import keyed_id
from tests.processes import children as children_of
from tests.processes import environment, kill, python, running, until
from tests.road import Road

Effects = Callable[[], dict[str, int]]


def rq(road: Road, *arguments: str) -> str:
    """What a stock `rq` command prints."""
    command = python("-m", "rq.cli", *arguments, "--url", road.of_worker.redis_url)
    done = subprocess.run(command, env=environment(road.of_worker, COLUMNS="200"), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def stock_worker(road: Road, queue: str, *more: str) -> None:
    """Run a stock RQ worker until the queue is empty."""
    rq(road, "worker", "--serializer", "json", "--burst", queue, *more)


def test_rq_reads_our_jobs(road: Road) -> None:
    job_id = road.order("c")
    job = Job.fetch(str(job_id), connection=road.redis, serializer=JSONSerializer)
    assert (job.func_name, job.origin, job.description, job.timeout) == (
        "workers.executor.execute",
        "orders",
        "orders.place",
        30,
    )
    assert job.get_status() == "queued"
    assert job.created_at.isoformat() == road.job(job_id)["submitted_at"].replace("Z", "+00:00")
    assert Queue("orders", connection=road.redis).job_ids == [str(job_id)]


def test_rq_info_shows_depth_running_finished_failed_and_workers(road: Road, tmp_path: Path) -> None:
    fine, bad = road.submit("test.probe"), road.submit("test.probe", {"do": "raise"})
    for _ in range(3):
        road.work()
        road.make_due(bad)
    road.work()
    road.submit("test.probe")
    road.reserve()
    for _ in range(2):
        road.submit("test.probe")
    assert "queue default 2, 1 executing, 1 finished, 1 failed" in rq(road, "info", "--raw", "--only-queues")
    with running(python("-m", "workers", "--queues", "orders,tasks"), road.of_worker, tmp_path / "log"):
        until(lambda: "idle orders, tasks" in rq(road, "info", "--raw", "--only-workers"))
    assert road.status(fine) is State.SUCCEEDED


def test_counting_and_cleaning_registries_harms_no_running_job(road: Road) -> None:
    job_id = road.submit("test.probe")
    road.reserve()
    queue = Queue("default", connection=road.redis, serializer=JSONSerializer)
    assert StartedJobRegistry(queue=queue).count == 1
    clean_registries(queue)
    assert road.status(job_id) is State.RUNNING
    assert FailedJobRegistry(queue=queue).count == 0
    assert road.redis.exists("rq:queue:default:intermediate") == 0, "we never use RQ's intermediate queue"


def test_registries_forget_what_has_expired(road: Road) -> None:
    road.submit("test.probe")
    road.work()
    queue = Queue("default", connection=road.redis, serializer=JSONSerializer)
    assert FinishedJobRegistry(queue=queue).get_job_count(cleanup=False) == 1
    road.redis.zadd("rq:finished:default", dict.fromkeys(road.redis.zrange("rq:finished:default", 0, -1), 1))
    road.redis.hset("millrace:reaper", "grace_until", 0)
    road.leases.reap()
    road.redis.hset("millrace:reaper", "grace_until", 0)
    road.leases.reap()
    assert road.redis.zcard("rq:finished:default") == 0


def test_a_stock_worker_runs_our_jobs_with_the_same_receipts(road: Road) -> None:
    ids = [road.order("c"), road.order("c"), road.order("d")]
    stock_worker(road, "orders")
    assert [road.status(job_id) for job_id in ids] == [State.SUCCEEDED, State.REJECTED, State.SUCCEEDED]
    assert road.rows("SELECT state, attempts FROM receipts ORDER BY submitted_at") == [
        ("succeeded", 1),
        ("rejected", 1),
        ("succeeded", 1),
    ]
    shown = [(road.job(job_id)["result"], road.job(job_id)["error"]) for job_id in ids]
    assert all(0 < road.redis.ttl(keys.job(job_id)) <= road.settings.final_ttl_seconds for job_id in ids)
    road.redis.flushall()
    assert [(road.job(job_id)["result"], road.job(job_id)["error"]) for job_id in ids] == shown


def test_what_a_stock_worker_has_to_put_off_does_not_vanish(road: Road) -> None:
    road.order("c")
    waiting = road.order("c", body={"if_too_soon": "wait"})
    stock_worker(road, "orders")
    assert road.status(waiting) is State.SCHEDULED
    assert road.redis.ttl(keys.job(waiting)) == -1
    road.make_due(waiting)
    road.work()
    assert road.status(waiting) is State.SUCCEEDED


def test_a_stock_worker_leaves_a_leased_job_alone(road: Road) -> None:
    job_id = road.order("c")
    road.reserve()
    road.redis.rpush(keys.queue("orders"), str(job_id))
    stock_worker(road, "orders")
    assert road.rows("SELECT count(*) FROM orders") == [(0,)]


def test_a_worker_on_two_queues_loses_nothing_when_killed(road: Road, tmp_path: Path) -> None:
    """Stock RQ pops with BLPOP there, and what it had popped is gone."""
    settings = road.of_worker.model_copy(update={"lease_seconds": 2})
    log = tmp_path / "log"
    ids = [road.order(f"c{n}") for n in range(200)]
    with running(python("-m", "workers", "--queues", "default,orders", "--batch", "3"), settings, log) as process:
        for _ in range(3):
            until(lambda: bool(children_of(process.pid)))
            time.sleep(0.7)
            for child in children_of(process.pid):
                kill(child)
        until(lambda: all(road.status(job_id).final for job_id in ids), 60)
    assert {road.status(job_id) for job_id in ids} == {State.SUCCEEDED}


def test_submitting_again_after_a_lost_reply_does_not_raise(road: Road) -> None:
    """`unique=True` of stock RQ raises for one's own write."""
    job_id = keyed_id("s" * 32, road.owner, "key")
    for _ in range(2):
        road.order("c", id=job_id, fingerprint="f")
    assert road.redis.llen(keys.queue("orders")) == 1


def test_a_job_that_is_queued_again_has_no_expiry(road: Road) -> None:
    """A failed job that stock RQ queues again keeps its expiry, and vanishes."""
    job_id = road.submit("test.probe", {"do": "raise once"})
    road.work()
    road.redis.expire(keys.job(job_id), 1000)
    road.make_due(job_id)
    assert road.redis.ttl(keys.job(job_id)) == -1


def test_the_client_repeats_no_command_by_itself(road: Road) -> None:
    """redis-py repeats a command ten times by default, and a transaction's EXEC with it."""
    client = broker.connect("redis://127.0.0.1:1")
    assert client.get_retry() is not None
    started = time.monotonic()
    with pytest.raises(RedisConnectionError):
        client.incr("x")
    assert client.get_retry()._retries == 0
    assert time.monotonic() - started < 5


def test_a_lost_reply_is_one_execution_of_the_command(road: Road) -> None:
    client = broker.connect(road.settings.redis_url, timeout=0.2)
    server = psutil.Process(client.info("server")["process_id"])
    server.suspend()
    try:
        with pytest.raises(broker.LOST):
            client.incr("counted")
    finally:
        server.resume()
    until(lambda: road.redis.get("counted") is not None, 5)
    time.sleep(0.3)
    assert road.redis.get("counted") == b"1"


def test_retries_need_no_scheduler_of_rqs_own(road: Road) -> None:
    job_id = road.submit("test.probe", {"do": "raise once"})
    road.work()
    assert road.redis.zscore(keys.SCHEDULED, str(job_id)) is not None
    assert road.redis.exists("rq:scheduled:default") == 0


def test_ids_and_keys_are_of_the_letters_that_rq_allows(road: Road) -> None:
    from rq.job import validate_job_id

    validate_job_id(str(road.order("c")))
    validate_job_id(str(keyed_id("s" * 32, road.owner, "a key / with: anything")))


def test_a_worker_may_start_again_at_once_after_a_kill(road: Road, tmp_path: Path) -> None:
    """Stock RQ refuses a fixed worker name for minutes after kill -9."""
    for started in range(2):
        with running(python("-m", "workers", "--queues", "orders"), road.of_worker, tmp_path / "log") as process:
            until(lambda: bool(children_of(process.pid)))
            road.order(str(time.time()))
            until(lambda done=started + 1: road.redis.zcard("rq:finished:orders") == done)
            process.kill()
