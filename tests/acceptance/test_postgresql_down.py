"""PostgreSQL stopped while orders come in: creates go on, the rest is refused, nothing is lost or counted as a failure,
and all comes back by itself."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.acceptance.load import ANSWERS_WITHIN, CHANGE, EFFECT_WITHIN, Load, assert_unavailable
from tests.acceptance.stack import API_PROCESSES, LAST, Stack
from tests.processes import until
from tests.system.client import Client, order
from tests.system.sightings import Sightings
from tests.system.threads import by_threads


def test_postgresql_stopped_under_load_delays_writes_and_loses_nothing(stack: Stack, user: Client) -> None:
    load = Load(user)
    sightings = Sightings()
    with stack.workers(2), ExitStack() as loaded:
        placed = user.until_final(user.placed("placed-before")["id"])
        path = placed["links"]["resource"]
        loaded.enter_context(load.running())
        stack.postgres.stop("immediate")
        try:
            began = time.monotonic()
            key = {"Idempotency-Key": "through-the-outage"}
            mine = user.post(order("mine"), headers=key)
            told: list[bool] = []
            while time.monotonic() - began < 4:  # long enough for a worker to try more often than the policy allows
                for answer in (user.post(order("mine"), headers=key), user.get(f"/v1/jobs/{mine.json()['id']}")):
                    assert answer.elapsed.total_seconds() < ANSWERS_WITHIN
                    told.append(answer.status_code in (200, 202))
                    if not told[-1]:
                        assert_unavailable(answer, "database_unavailable")
                        continue
                    assert answer.json()["status"] == "queued"
                    sightings.see(answer.json())
                for answer in (
                    user("PATCH", path, json=CHANGE),
                    user("PUT", path, json=order("c")),
                    user("DELETE", path, headers=key),
                    user.get(path),
                    user.get("/v1/orders"),
                ):
                    assert_unavailable(answer, "database_unavailable")
        finally:
            stack.postgres.start()
        assert told.count(False) < len(told) / 2, "told, but for the moments in which a worker tries it in vain"
        assert told[-1]
        done = stack.done(user)
        until(lambda: stack.done(user) > done, EFFECT_WITHIN)
        stack.start_postgres(user)
        sightings.see(user.until_final(mine.json()["id"]))
        loaded.close()
        stack.assert_each_once(user, [placed["id"], mine.json()["id"], *load.acknowledged])
    assert "database_unavailable" not in {answer.json()["code"] for answer in load.refused}
    assert sightings.wrong == []
    attempts = stack.rows("SELECT DISTINCT attempts FROM receipts WHERE owner_id = %s", str(user.owner))
    assert attempts == [(1,)]


def test_workers_started_while_postgresql_is_away_begin_when_it_is_back(stack: Stack, user: Client) -> None:
    acknowledged = by_threads(8, user.persist, [f"customer-{number}" for number in range(50)])
    with ExitStack() as outage:
        outage.callback(lambda: stack.start_postgres(user))
        stack.postgres.stop("immediate")
        before = stack.count("workers", "database_unavailable")
        with stack.workers(1), stack.scheduler():
            until(lambda: stack.count("workers", "database_unavailable") > before)
            outage.close()
            stack.until_done(user, set(acknowledged), EFFECT_WITHIN)
            stack.assert_each_once(user, acknowledged)


def test_reads_are_answered_as_soon_as_postgresql_is_back(stack: Stack, user: Client) -> None:
    def read() -> list[int]:
        return [user.get("/v1/orders", headers=LAST).status_code for _ in range(10 * API_PROCESSES)]

    assert set(read()) == {200}
    stack.postgres.stop("fast")
    stack.postgres.start()
    try:
        assert set(read()) == {200}
    finally:
        stack.start_postgres(user)
