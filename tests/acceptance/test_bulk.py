"""Bulks through real processes: all lines are done, each once, also when Redis dies in the middle of one (CONTRACT.md §2)."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from jobs.kernel import keys
from tests.acceptance.stack import Stack
from tests.system.client import Client, order

LINES = 1000
TRIES = 30
"""Bulks that may be over, or not begun, when Redis dies; one in the middle is enough."""

Line = dict[str, Any]


def keyed(name: str) -> list[Line]:
    """Orders of as many customers, each with a key."""
    customers = [f"{name}-{number}" for number in range(LINES)]
    return [{"kind": "orders.place", "body": order(one), "idempotency_key": one} for one in customers]


def send(user: Client, lines: list[Line]) -> requests.Response:
    body = "\n".join(map(json.dumps, lines))
    return user("POST", "/v1/bulk", data=body, headers={"Content-Type": "application/x-ndjson"})


def told(answer: requests.Response) -> list[Line]:
    """What became of each line; nothing of a bulk that was refused as a whole."""
    if answer.status_code == 503:
        return []
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def persist(user: Client, lines: list[Line]) -> list[Line]:
    """Send the same lines until all of them are acknowledged."""
    deadline = time.monotonic() + 60
    while not (outcomes := told(send(user, lines))) or any(one["status"] != 202 for one in outcomes):
        assert time.monotonic() < deadline, "not acknowledged in a minute"
        time.sleep(0.1)
    return outcomes


def test_a_thousand_lines_are_done_once_each(stack: Stack, user: Client) -> None:
    with stack.workers(2):
        lines = [line for line in keyed("plain") if line.pop("idempotency_key")]
        outcomes = told(send(user, lines))
        assert {one["status"] for one in outcomes} == {202}
        stack.assert_each_once(user, [one["job"]["id"] for one in outcomes])


def test_a_bulk_that_redis_died_in_the_middle_of_can_be_sent_again(stack: Stack, user: Client) -> None:
    ids: list[str] = []
    with stack.workers(2):
        for number in range(TRIES):
            lines = keyed(f"bulk-{number}")
            first = told(sent_while_redis_dies(stack, user, lines))
            stack.start_redis()
            final = [one["job"]["id"] for one in persist(user, lines)]
            assert [one["job"]["id"] if one["status"] == 202 else one["error"]["job_id"] for one in first] in (
                [],
                final,
            )
            ids += final
            if {one["status"] for one in first} == {202, 503}:
                break
        else:
            raise AssertionError("Redis never died in the middle of a bulk")
        stack.assert_each_once(user, ids)


def sent_while_redis_dies(stack: Stack, user: Client, lines: list[Line]) -> requests.Response:
    """The answer to a bulk; Redis is killed as soon as it has taken some of it."""

    def accepted(redis: Any) -> bytes | None:
        found: bytes | None = redis.hget(keys.METERS, "accepted|orders.place")
        return found

    def watched(redis: Any) -> requests.Response:
        before = accepted(redis)
        with ThreadPoolExecutor(1) as threads:
            sending = threads.submit(send, user, lines)
            while accepted(redis) == before and not sending.done():
                time.sleep(0.001)
            stack.redis.kill()
            return sending.result()

    answer: requests.Response = stack.in_redis(watched)
    return answer
