"""Submit: what it stores, whom it counts, and when it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.exceptions import ResponseError

from jobs.kernel import broker, keys
from jobs.kernel.errors import QueueDown, QueueFull, RateLimited
from jobs.kernel.submit import Limit, Submission, keyed_id, new_id
from tests.probes import Probe
from tests.road import Road


def submission(road: Road, **more: Any) -> Submission:
    return Submission(**({"id": new_id(), "command": Probe(), "owner": road.owner} | more))


def test_times_are_redis_own_and_exact_to_the_microsecond(road: Road) -> None:
    seconds, micros = road.redis.time()
    before = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    accepted = road.submitter.submit(submission(road))
    assert timedelta(0) <= accepted.submitted_at - before < timedelta(seconds=5)
    stored = road.redis.hget(keys.job(accepted.id), "created_at")
    assert stored is not None
    assert datetime.fromisoformat(stored.decode()) == accepted.submitted_at


@pytest.mark.parametrize("day", ["1999-12-31", "2000-02-29", "2024-02-29", "2025-03-01", "2026-12-31", "2100-03-01"])
def test_lua_writes_dates_as_python_does(road: Road, day: str) -> None:
    from jobs.kernel import scripts
    from jobs.kernel.times import micros

    at = datetime.fromisoformat(f"{day}T23:59:59.000042+00:00")
    clock = (scripts.SHARED / "clock.lua").read_text()
    written = road.redis.eval(f"{clock}\nreturn iso(tonumber(ARGV[1]))", 0, micros(at))
    assert datetime.fromisoformat(written.decode()) == at


def test_a_limit_is_counted_with_the_write_and_refuses_the_next(road: Road) -> None:
    limit = Limit("LIMITS:test", amount=2, seconds=60)
    states = [road.submitter.submit(submission(road), limit).limit for _ in range(2)]
    assert [(state.limit, state.remaining) for state in states if state] == [(2, 1), (2, 0)]
    with pytest.raises(RateLimited) as refused:
        road.submitter.submit(submission(road), limit)
    assert 0 < int(refused.value.headers["Retry-After"]) <= 60
    assert refused.value.headers["X-RateLimit-Remaining"] == "0"
    assert road.redis.llen(keys.queue("default")) == 2


def test_above_the_depth_cap_nothing_is_taken_but_repeats_are_known(road: Road) -> None:
    road = road.with_settings(max_queue_depth=1)
    first = submission(road, id=keyed_id("s" * 32, road.owner, "k"), fingerprint="f")
    road.submitter.submit(first)
    with pytest.raises(QueueFull):
        road.submitter.submit(submission(road))
    assert not road.submitter.submit(first).fresh
    assert road.redis.llen(keys.queue("default")) == 1


def test_above_the_share_of_memory_nothing_is_taken(road: Road) -> None:
    used = road.redis.info("memory")["used_memory"]
    road.redis.config_set("maxmemory", int(used * 1.1))
    try:
        with pytest.raises(QueueFull) as refused:
            road.submitter.submit(submission(road))
        assert refused.value.headers["Retry-After"] == "5"
    finally:
        road.redis.config_set("maxmemory", "1gb")
    assert road.redis.llen(keys.queue("default")) == 0


def test_a_redis_without_any_room_is_a_full_queue_too(road: Road) -> None:
    road.redis.config_set("maxmemory", "100kb")
    try:
        with pytest.raises(QueueFull):
            road.submitter.submit(submission(road), Limit("LIMITS:test", 10, 60))
    finally:
        road.redis.config_set("maxmemory", "1gb")


def test_a_redis_that_refuses_writes_is_a_queue_that_is_down(road: Road) -> None:
    asked = submission(road)
    road.redis.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(QueueDown):
            road.submitter.submit(asked)
    finally:
        road.redis.replicaof("NO", "ONE")


def test_without_redis_the_error_names_the_job(road: Road) -> None:
    asked = submission(road)
    with pytest.raises(QueueDown) as refused:
        road.with_settings(redis_url="redis://127.0.0.1:1").submitter.submit(asked)
    assert refused.value.members["job_id"] == str(asked.id)
    assert refused.value.headers["Retry-After"] == "1"


def test_no_key_holds_what_a_user_wrote(road: Road) -> None:
    road.order("a-customers-name")
    assert not [key for key in road.redis.scan_iter() if b"customers" in key]


def test_the_words_of_refusals_are_those_that_redis_uses(road: Road) -> None:
    with pytest.raises(ResponseError) as refused:
        road.redis.execute_command("HGET", "one argument")
    assert broker.unavailable(refused.value) is None
