"""Submit: what it stores, whom it counts, and when it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ResponseError

from jobs.kernel import broker, keys
from jobs.kernel.calls import FRESH
from jobs.kernel.errors import AppError, QueueDown, QueueFull, RateLimited
from jobs.kernel.submit import CHUNK, Accepted, Limit, Submission, Submitter, keyed_id, new_id
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


def test_many_are_submitted_in_chunks_and_one_refusal_spoils_no_other(road: Road) -> None:
    key = keyed_id("s" * 32, road.owner, "k")
    earlier = submission(road, id=key, fingerprint="f")
    road.submitter.submit(earlier)
    new = [submission(road) for _ in range(2 * CHUNK)]
    twice = submission(road, id=keyed_id("s" * 32, road.owner, "twice"), fingerprint="f")
    asked = [*new, earlier, earlier._replace(fingerprint="g"), twice, twice, twice._replace(fingerprint="g")]
    results = road.submitter.submit_many(asked)
    assert [result.id for result in results if isinstance(result, Accepted) and result.fresh] == [
        *(each.id for each in new),
        twice.id,
    ]
    told = [result.fresh if isinstance(result, Accepted) else result.code for result in results[len(new) :]]
    assert told == [False, "idempotency_key_reused", True, False, "idempotency_key_reused"]
    queued = road.redis.lrange(keys.queue("default"), 0, -1)
    assert queued == [str(each.id).encode() for each in (earlier, *new, twice)]
    assert road.redis.zcard(keys.live_jobs(road.owner)) == len(queued)


def test_many_fill_a_queue_up_to_its_cap(road: Road) -> None:
    road = road.with_settings(max_queue_depth=3)
    results = road.submitter.submit_many([submission(road) for _ in range(5)])
    assert [isinstance(result, Accepted) for result in results] == [True] * 3 + [False] * 2
    assert {result.code for result in results if isinstance(result, AppError)} == {"queue_full"}
    assert road.redis.llen(keys.queue("default")) == 3


def test_each_of_many_counts(road: Road) -> None:
    limit = Limit("LIMITS:test", amount=CHUNK, seconds=60)
    results = road.submitter.submit_many([submission(road) for _ in range(CHUNK + 1)], limit)
    assert [isinstance(result, Accepted) for result in results] == [True] * CHUNK + [False]
    assert isinstance(results[-1], RateLimited)


def test_without_redis_each_of_many_is_told_its_own_id(road: Road) -> None:
    asked = [submission(road) for _ in range(2 * CHUNK)]
    results = road.with_settings(redis_url="redis://127.0.0.1:1").submitter.submit_many(asked)
    assert [result.members["job_id"] for result in results if isinstance(result, QueueDown)] == [
        str(each.id) for each in asked
    ]


def test_all_who_submit_at_once_share_a_connection(road: Road) -> None:
    road.submitter.submit(submission(road))
    before = road.redis.info("stats")["total_connections_received"]
    asked = [submission(road) for _ in range(300)]
    with ThreadPoolExecutor(30) as threads:
        accepted = list(threads.map(road.submitter.submit, asked))
    assert [each.id for each in accepted] == [each.id for each in asked]
    assert road.redis.info("stats")["total_connections_received"] == before
    queued = road.redis.lrange(keys.queue("default"), 1, -1)
    assert sorted(queued) == sorted(str(each.id).encode() for each in asked)


def test_a_connection_that_was_closed_and_a_script_that_was_forgotten_are_met_by_nobody(road: Road) -> None:
    road.submitter.submit(submission(road))
    for change in (lambda: road.redis.client_kill_filter(_type="normal", skipme=True), road.redis.script_flush):
        change()
        sleep(2 * FRESH)
        assert road.submitter.submit(submission(road)).fresh


def test_those_behind_a_redis_that_hangs_are_told_together(road: Road) -> None:
    redis = broker.connect(road.settings.redis_url)
    submitter = Submitter(redis, road.settings)
    submitter.submit(submission(road))
    road.redis.execute_command("CLIENT", "PAUSE", "3000")
    began = monotonic()
    with closing(redis), ThreadPoolExecutor(200) as threads:
        asked = [threads.submit(submitter.submit, submission(road)) for _ in range(200)]
        assert {type(each.exception()) for each in asked} == {QueueDown}
    assert monotonic() - began < 1 * 5


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ("READONLY You can't write against a read only replica. script: 08ed, on @user_script:84.", QueueDown),
        ("ERR Error running script: -READONLY You can't write against a read only replica.", QueueDown),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", QueueDown),
        ("CLUSTERDOWN The cluster is down", QueueDown),
        ("NOREPLICAS Not enough good replicas to write.", QueueDown),
        ("MISCONF Errors writing to the AOF file: No space left on device", QueueDown),
        ("OOM command not allowed when used memory > 'maxmemory'. script: 08ed.", QueueFull),
        ("ERR Error running script: -OOM command not allowed when used memory > 'maxmemory'.", QueueFull),
    ],
)
def test_a_refused_write_is_known_in_the_words_of_redis_6_and_7(refusal: str, expected: type) -> None:
    assert isinstance(broker.unavailable(BaseParser.parse_error(refusal)), expected)


def test_a_mistake_is_no_outage() -> None:
    assert broker.unavailable(BaseParser.parse_error("ERR wrong number of arguments for 'hget' command")) is None
