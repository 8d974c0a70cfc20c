"""Redis killed while orders come in: writes are refused, reads go on, nothing is lost, and all comes back by itself."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from tests.acceptance.load import ANSWERS_WITHIN, CHANGE, EFFECT_WITHIN, Load, assert_unavailable
from tests.acceptance.stack import Stack
from tests.processes import until
from tests.system.client import Client, order
from tests.system.threads import by_threads


def test_acknowledged_means_on_disk(stack: Stack) -> None:
    asked = stack.in_redis(lambda redis: {**redis.config_get("append*"), **redis.config_get("maxmemory-policy")})
    assert (asked["appendonly"], asked["appendfsync"], asked["maxmemory-policy"]) == ("yes", "always", "noeviction")
    durable = [stack.rows(f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")]
    assert durable == [[("on",)]] * 3


def test_redis_killed_under_load_refuses_writes_keeps_reads_and_loses_nothing(stack: Stack, user: Client) -> None:
    load = Load(user)
    with stack.workers(2), stack.scheduler(), ExitStack() as loaded:
        placed = user.until_final(user.placed("placed-before")["id"])
        path = placed["links"]["resource"]
        loaded.enter_context(load.running())
        loaded.callback(stack.start_redis)
        due = datetime.now(UTC) + timedelta(seconds=4)
        at = f"?run_at={due.strftime('%Y-%m-%dT%H:%M:%SZ')}"
        later = by_threads(8, lambda number: user.persist(f"later-{number}", query=at), range(100))
        stack.redis.kill()
        until(lambda: bool(load.refused))
        key = {"Idempotency-Key": "through-the-outage"}
        named = assert_unavailable(user.post(order("mine"), headers=key), "queue_unavailable")["job_id"]
        for answer in (
            user.post(order("other")),
            user.post(order("waits"), headers={"Prefer": "wait=20"}),
            user("PATCH", path, json=CHANGE),
            user("PUT", path, json=order("c")),
            user("DELETE", path),
        ):
            assert assert_unavailable(answer, "queue_unavailable")["job_id"]
        for readable in ("/v1/orders", path, "/v1/services", "/v1/jobs?status=succeeded", placed["links"]["self"]):
            answer = user.get(readable)
            assert answer.status_code == 200, answer.text
            assert answer.elapsed.total_seconds() < ANSWERS_WITHIN
        assert user.job(placed["id"]) == placed
        assert_unavailable(user.get(f"/v1/jobs/{later[0]}"), "queue_unavailable")
        assert not set(later) & stack.receipts(user).keys()
        stack.start_redis()
        done = stack.done(user)
        until(lambda: stack.done(user) > done, EFFECT_WITHIN)
        again = user.post(order("mine"), headers=key)
        assert (again.status_code, again.json()["id"]) == (202, named)
        more = len(load.acknowledged) + 50
        until(lambda: len(load.acknowledged) > more)
        loaded.close()
        stack.assert_each_once(user, [placed["id"], named, *later, *load.acknowledged])
    assert max(answer.elapsed.total_seconds() for answer in load.refused) < ANSWERS_WITHIN
    assert all(answer.headers["Retry-After"] and answer.json()["job_id"] for answer in load.refused)


def test_workers_started_while_redis_is_away_begin_when_it_is_back(stack: Stack, user: Client) -> None:
    acknowledged = by_threads(8, user.persist, [f"customer-{number}" for number in range(50)])
    with ExitStack() as outage:
        outage.callback(stack.start_redis)
        stack.redis.kill()
        before = stack.count("workers", "queue_unavailable")
        with stack.workers(1), stack.scheduler():
            until(lambda: stack.count("workers", "queue_unavailable") > before)
            outage.close()
            stack.until_done(user, set(acknowledged), EFFECT_WITHIN)
            stack.assert_each_once(user, acknowledged)
