"""Receipts: a job takes effect once, however often it is delivered, and its outcome outlives Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from jobs.kernel.errors import Invalid
from jobs.kernel.outcome import State
from jobs.kernel.submit import keyed_id, new_id
from models.views import instant
from tests.road import Road
from workers import receipts
from workers.settle import Final
from workers.work import opened

Effects = Callable[[], dict[str, int]]


def test_a_redelivered_job_returns_its_first_receipt(road: Road, effects: Effects) -> None:
    job_id = road.submit("test.probe")
    (delivery,) = road.reserve()
    first = road.execute([delivery])
    second = road.execute([delivery])
    assert isinstance(first[0].verdict, Final)
    assert first[0].verdict == second[0].verdict
    assert effects() == {str(job_id): 1}


def test_an_outcome_survives_an_empty_redis_to_the_letter(road: Road) -> None:
    ids = [road.order("c"), road.order("c"), road.submit("test.probe", {"do": "raise"})]
    road.work()
    for _ in range(2):
        road.make_due(ids[2])
        road.work()
    before = [road.job(job_id) for job_id in ids]
    assert [job["status"] for job in before] == ["succeeded", "rejected", "failed"]
    road.redis.flushall()
    assert [road.job(job_id) for job_id in ids] == before


def test_two_workers_with_the_same_job_make_one_effect(road: Road, effects: Effects) -> None:
    ids = [str(road.submit("test.probe")) for _ in range(20)]
    deliveries = road.reserve()
    threads = [
        threading.Thread(target=road.execute, args=[part]) for part in (deliveries, deliveries[::-1], deliveries)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert effects() == dict.fromkeys(ids, 1)


def test_a_batch_lost_before_settling_is_done_once_and_told_by_the_next(road: Road, effects: Effects) -> None:
    ids = [road.submit("test.many") for _ in range(5)]
    road.execute(road.reserve())  # committed, and the worker dies before it can tell
    assert {road.status(job_id) for job_id in ids} == {State.SUCCEEDED}, "the receipt wins over Redis"
    road.expire_leases()
    road.work()
    assert {road.status(job_id) for job_id in ids} == {State.SUCCEEDED}
    assert effects() == dict.fromkeys(map(str, ids), 1)
    assert road.redis.zcard("millrace:leases:default") == 0


def test_submitting_the_same_key_twice_gives_one_job(road: Road, effects: Effects) -> None:
    job_id = keyed_id("s" * 32, road.owner, "key")
    for _ in range(3):
        assert road.submit("test.probe", id=job_id, fingerprint="f") == job_id
    assert road.redis.llen("rq:queue:default") == 1
    road.work()
    road.submit("test.probe", id=job_id, fingerprint="f")
    road.work()
    assert effects() == {str(job_id): 1}


def test_the_same_key_for_something_else_is_refused(road: Road) -> None:
    job_id = keyed_id("s" * 32, road.owner, "key")
    road.submit("test.probe", id=job_id, fingerprint="f")
    with pytest.raises(Invalid) as refused:
        road.submit("test.probe", {"do": "raise"}, id=job_id, fingerprint="g")
    assert refused.value.code == "idempotency_key_reused"


def test_keys_make_ids_of_version_8_that_differ_by_user_and_key() -> None:
    mine, yours = new_id(), new_id()
    ids = {keyed_id("s" * 32, user, key) for user in (mine, yours) for key in ("a", "b")}
    assert len(ids) == 4
    assert {made.version for made in ids} == {8}
    assert {made.variant for made in ids} == {mine.variant}
    assert keyed_id("s" * 32, mine, "a") in ids


def test_a_failed_job_gives_way_to_a_later_run_and_no_other_does(road: Road, effects: Effects) -> None:
    failed, fine = road.submit("test.probe", {"do": "raise"}), road.submit("test.probe")
    road.work()
    for _ in range(2):
        road.make_due(failed)
        road.work()
    assert [road.status(failed), road.status(fine)] == [State.FAILED, State.SUCCEEDED]
    assert effects() == {str(fine): 1}
    for job_id in (failed, fine):
        envelope = b'["workers.executor.execute",null,[{"kind":"test.probe","body":{}}],{}]'
        road.redis.hset(f"rq:job:{job_id}", mapping={"state": "queued", "status": "queued", "run": 2, "data": envelope})
        road.redis.persist(f"rq:job:{job_id}")
        road.redis.rpush("rq:queue:default", str(job_id))
    road.work()
    assert road.status(failed) is State.SUCCEEDED
    assert effects() == {str(fine): 1, str(failed): 1}


def test_only_failed_jobs_keep_their_envelope(road: Road) -> None:
    road.submit("test.probe")
    road.submit("test.probe", {"do": "reject"})
    failed = road.submit("test.probe", {"do": "raise"})
    road.work()
    for _ in range(2):
        road.make_due(failed)
        road.work()
    rows = road.rows("SELECT id, envelope->'body' AS body FROM receipts WHERE envelope IS NOT NULL")
    assert [(row.id, row.body) for row in rows] == [(failed, {"do": "raise"})]


def test_an_execution_that_would_wait_is_overtaken_by_a_receipt_written_meanwhile(road: Road) -> None:
    job_id = road.order("c", body={"if_too_soon": "wait"})
    (delivery,) = road.reserve()
    work = opened(delivery)
    (first,) = road.execute([delivery])
    with road.sessions() as session, pytest.raises(receipts.OvertakenError):
        receipts.make_sure_open(session, [work])
    (late,) = road.execute([delivery])
    assert late.verdict == first.verdict
    road.leases.settle([late])
    assert road.status(job_id) is State.SUCCEEDED


def test_times_are_redis_own_and_in_order_whatever_the_workers_clock_says(
    road: Road,
) -> None:
    job_id = road.submit("test.probe")
    deliveries = road.reserve()
    started = deliveries[0].started_at
    road.leases.settle(road.execute([deliveries[0]._replace(started_at=started + timedelta(days=1))]))
    job = road.job(job_id)
    assert job["submitted_at"] <= job["started_at"] <= job["finished_at"]
    assert job["finished_at"] >= (instant(started + timedelta(days=1)) or "")
