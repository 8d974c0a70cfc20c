"""Limits of jobs: counted by the submit script, together with the jobs that it makes."""

from __future__ import annotations

from dataclasses import replace
from time import sleep
from typing import Any

import pytest

from jobs.kernel import keys
from jobs.kernel.errors import AppError, QueueFull, RateLimited
from jobs.kernel.submit import Accepted, Limit, Result, Submission, keyed_id, new_id
from tests.probes import Probe
from tests.road import Road

WIDE, NARROW = Limit("LIMITS:wide", amount=3, seconds=3600), Limit("LIMITS:narrow", amount=1, seconds=60)


def submission(road: Road, *caps: Limit, **more: Any) -> Submission:
    return Submission(**({"id": new_id(), "command": Probe(), "owner": road.owner, "caps": caps} | more))


def words(results: list[Result]) -> list[str]:
    return [result.code if isinstance(result, AppError) else ["same", "new"][result.fresh] for result in results]


def counts(road: Road, *caps: Limit) -> list[int]:
    return [int(road.redis.get(cap.name) or 0) for cap in caps]


def test_the_one_after_the_last_is_refused_in_the_words_of_its_limit(road: Road) -> None:
    for _ in range(3):
        road.submitter.submit(submission(road, WIDE))
    with pytest.raises(RateLimited) as refused:
        road.submitter.submit(submission(road, WIDE))
    headers, members = refused.value.headers, refused.value.members
    assert 3590 <= int(headers["Retry-After"]) == members["retry_after"] <= 3600
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("3", "0")
    assert road.redis.llen(keys.queue("default")) == 3


@pytest.mark.parametrize("caps", [(WIDE, NARROW), (NARROW, WIDE)])
def test_where_one_is_exceeded_none_counts_and_that_one_is_told(road: Road, caps: tuple[Limit, ...]) -> None:
    road.submitter.submit(submission(road, *caps))
    with pytest.raises(RateLimited) as refused:
        road.submitter.submit(submission(road, *caps))
    assert counts(road, WIDE, NARROW) == [1, 1]
    assert refused.value.headers["X-RateLimit-Limit"] == "1"
    assert 0 < int(refused.value.headers["Retry-After"]) <= 60


def test_a_window_begins_with_its_first_job_and_ends(road: Road) -> None:
    road.submitter.submit(submission(road, NARROW))
    assert 0 < road.redis.pttl(NARROW.name) <= 60_000
    road.redis.pexpire(NARROW.name, 1)
    sleep(0.05)
    assert road.submitter.submit(submission(road, NARROW)).fresh
    assert 0 < road.redis.pttl(NARROW.name) <= 60_000


def test_a_later_job_does_not_make_the_window_longer(road: Road) -> None:
    road.submitter.submit(submission(road, WIDE))
    road.redis.expire(WIDE.name, 100)
    road.submitter.submit(submission(road, WIDE))
    assert 0 < road.redis.ttl(WIDE.name) <= 100


def test_what_is_known_already_is_neither_counted_nor_refused(road: Road) -> None:
    first = submission(road, NARROW, id=keyed_id("s" * 32, road.owner, "k"), fingerprint="f")
    other = first._replace(fingerprint="g")
    assert words(road.submitter.submit_many([first, first, other])) == ["new", "same", "idempotency_key_reused"]
    assert words(road.submitter.submit_many([first, other])) == ["same", "idempotency_key_reused"]
    assert counts(road, NARROW) == [1]


def test_each_of_many_counts_its_own(road: Road) -> None:
    elsewhere = replace(NARROW, name="LIMITS:elsewhere")
    refused = submission(road, WIDE, NARROW, id=keyed_id("s" * 32, road.owner, "k"), fingerprint="f")
    asked = [
        submission(road, WIDE, NARROW),
        refused,
        refused,
        submission(road, WIDE, elsewhere),
        submission(road),
        submission(road, WIDE),
        submission(road, WIDE),
    ]
    results = road.submitter.submit_many(asked)
    assert words(results) == ["new", "rate_limited", "rate_limited", "new", "new", "new", "rate_limited"]
    told = [result.headers["X-RateLimit-Limit"] for result in results if isinstance(result, AppError)]
    assert told == ["1", "1", "3"]
    assert counts(road, WIDE, NARROW, elsewhere) == [3, 1, 1]
    assert road.redis.llen(keys.queue("default")) == 4


def test_what_the_queue_has_no_room_for_is_not_counted_and_what_is_refused_takes_no_room(road: Road) -> None:
    road = road.with_settings(max_queue_depth=2)
    asked = [submission(road, NARROW), submission(road, NARROW), submission(road), submission(road, WIDE)]
    assert words(road.submitter.submit_many(asked)) == ["new", "rate_limited", "new", "queue_full"]
    assert counts(road, NARROW, WIDE) == [1, 0]


def test_above_the_share_of_memory_nothing_is_counted(road: Road) -> None:
    used = road.redis.info("memory")["used_memory"]
    road.redis.config_set("maxmemory", int(used * 1.1))
    try:
        with pytest.raises(QueueFull):
            road.submitter.submit(submission(road, WIDE))
    finally:
        road.redis.config_set("maxmemory", "1gb")
    assert counts(road, WIDE) == [0]


def test_a_limit_of_none_at_all_refuses_the_first(road: Road) -> None:
    with pytest.raises(RateLimited) as refused:
        road.submitter.submit(submission(road, replace(NARROW, amount=0)))
    assert refused.value.headers["Retry-After"] == "60"


def test_a_job_without_such_limits_leaves_no_counter(road: Road) -> None:
    assert isinstance(road.submitter.submit(submission(road)), Accepted)
    assert road.redis.keys("LIMITS:*") == []
