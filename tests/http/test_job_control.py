"""Jobs canceled and run again, by who may (CONTRACT.md §2)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from flask import Flask
from redis import Redis
from werkzeug.test import TestResponse

from api import job_control
from jobs.kernel import keys
from jobs.kernel.outcome import FINAL, State
from local.postgres import Postgres
from tests.conftest import Person
from tests.failures import failed_order, unwritable, use_up
from tests.http.conftest import ORDER, Client
from tests.processes import until
from tests.road import Road

Execute = Callable[..., Any]
SOON = timedelta(hours=1)


def cancel(client: Client, job: object, **more: Any) -> TestResponse:
    return client("DELETE", f"/v1/jobs/{job}", **more)


def retry(client: Client, job: object, **more: Any) -> TestResponse:
    return client.post(f"/v1/jobs/{job}/retry", **more)


def refused(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def order(client: Client, query: str = "", **more: Any) -> str:
    answer = client.post(f"/v1/orders{query}", ORDER | more)
    assert answer.status_code == 202, answer.get_json()
    return str(answer.get_json()["id"])


def receipts(road: Road) -> list[tuple[str, str, int, int]]:
    rows = road.rows("SELECT id::text, state, run, attempts FROM receipts ORDER BY submitted_at")
    return [(row.id, row.state, row.run, row.attempts) for row in rows]


@pytest.mark.parametrize("later", [False, True])
def test_what_no_worker_ever_had_is_canceled_at_once(user: Client, road: Road, later: bool) -> None:
    query = f"?run_at={(datetime.now(UTC) + SOON).isoformat().replace('+00:00', 'Z')}" if later else ""
    job = order(user, query)
    answer = cancel(user, job)
    shown = answer.get_json()
    assert (answer.status_code, answer.headers["Location"]) == (200, f"/v1/jobs/{job}")
    assert "Retry-After" not in answer.headers
    assert (shown["status"], shown["attempts"], shown["started_at"], shown["error"]) == ("canceled", 0, None, None)
    assert shown["finished_at"]
    assert user.get(f"/v1/jobs/{job}").get_json() == shown
    road.work()
    assert receipts(road) == [(job, "canceled", 1, 0)]
    assert user.get(f"/v1/jobs/{job}").get_json() == shown, "it was over then, and is as it was told"
    assert user.get("/v1/orders").get_json()["data"] == []


def test_what_a_worker_has_is_asked_to_end(user: Client, road: Road) -> None:
    job = order(user)
    deliveries = road.reserve()
    answer = cancel(user, job)
    assert (answer.status_code, answer.get_json()["status"]) == (202, "running")
    assert (answer.headers["Location"], answer.headers["Retry-After"]) == (f"/v1/jobs/{job}", "1")
    road.leases.settle(road.execute(deliveries))
    assert user.get(f"/v1/jobs/{job}").get_json()["status"] == "succeeded", "it did not know"


def test_what_waits_between_tries_is_canceled_by_the_next_worker(user: Client, road: Road, execute: Execute) -> None:
    job = order(user)
    with unwritable(execute):
        road.work()
    assert user.get(f"/v1/jobs/{job}").get_json()["status"] == "scheduled"
    answer = cancel(user, job)
    assert (answer.status_code, answer.get_json()["status"]) == (202, "queued")
    road.work()
    assert user.get(f"/v1/jobs/{job}").get_json()["status"] == "canceled"
    assert user.get("/v1/orders").get_json()["data"] == []


@pytest.mark.parametrize("state", sorted(FINAL))
def test_what_is_over_is_not_canceled(user: Client, road: Road, execute: Execute, redis: Redis, state: State) -> None:
    job = order(user)
    road.work()
    execute("UPDATE receipts SET state = %s", state.value)
    for _ in range(2):  # also when Redis has forgotten it
        answer = cancel(user, job)
        assert (*refused(answer), answer.get_json()["job_status"]) == (409, "job_final", state)
        redis.delete(keys.job(job))


def test_who_cancels_twice_is_told_that_it_is_over(user: Client, road: Road) -> None:
    job = order(user)
    assert cancel(user, job).status_code == 200
    assert refused(cancel(user, job)) == (409, "job_final")
    road.work()
    assert refused(cancel(user, job)) == (409, "job_final")


def test_a_receipt_wins_over_what_redis_says(user: Client, road: Road, redis: Redis, postgres: Postgres) -> None:
    """Redis has lost all, and the job was sent again under its key while PostgreSQL was away."""
    key = {"Idempotency-Key": "again"}
    job = user.post("/v1/orders", ORDER, headers=key).get_json()["id"]
    road.work()
    redis.delete(keys.job(job))
    postgres.stop("immediate")
    try:
        assert user.post("/v1/orders", ORDER, headers=key).status_code == 202
        assert refused(cancel(user, job)) == (503, "database_unavailable")
    finally:
        postgres.start()
    assert refused(cancel(user, job)) == (409, "job_final")
    road.work()
    assert user.get(f"/v1/jobs/{job}").get_json()["status"] == "succeeded"


def test_nothing_is_canceled_while_postgresql_cannot_be_asked(user: Client, road: Road, postgres: Postgres) -> None:
    job = order(user)
    postgres.stop("immediate")
    try:
        assert refused(cancel(user, job)) == (503, "database_unavailable")
    finally:
        postgres.start()
    road.work()
    assert user.get(f"/v1/jobs/{job}").get_json()["status"] == "succeeded"


@pytest.mark.parametrize("ask", [cancel, retry])
def test_a_job_of_nobody_is_for_admins(
    nobody: Client, user: Client, admin: Client, road: Road, execute: Execute, ask: Callable[..., TestResponse]
) -> None:
    body = {"email": "new@example.com", "password": "Correct-horse1", "name": "New"}
    job = nobody.post("/v1/auth/register", body).get_json()["id"]
    if ask is retry:
        with unwritable(execute, "users"):
            use_up(road, job)
    assert ask(nobody, job).status_code == 401, "though whoever holds its id may read it"
    assert refused(ask(user, job)) == (404, "not_found")
    assert ask(admin, job).status_code in (200, 202)


def test_an_admin_cancels_anybodys(user: Client, admin: Client) -> None:
    assert cancel(admin, order(user)).get_json()["status"] == "canceled"


def test_whoever_waits_hears_how_it_ended(user: Client, execute: Execute, worker: None) -> None:
    with unwritable(execute):
        job = order(user)
        until(lambda: user.get(f"/v1/jobs/{job}").get_json()["status"] == "scheduled")
        answer = cancel(user, job, headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.get_json()["status"]) == (200, "canceled")
    assert answer.headers["Preference-Applied"] == "wait=20"


def test_whoever_has_sent_it_and_waits_hears_that_it_was_canceled(app: Flask, user: Client, road: Road) -> None:
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(user.post, "/v1/orders", ORDER, headers={"Prefer": "wait=20"})
        until(lambda: road.redis.exists("millrace:watched") == 1)
        (job,) = road.ledger.page(road.owner)
        assert cancel(user, job.id).status_code == 200
        assert (sent.result().status_code, sent.result().get_json()["status"]) == (200, "canceled")


def test_whoever_waits_in_vain_is_told_how_it_is(user: Client, road: Road) -> None:
    job = order(user)
    road.reserve()
    answer = cancel(user, job, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.get_json()["status"]) == (202, "running")
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize("ask", [cancel, retry])
def test_a_wait_that_is_none_is_refused(user: Client, ask: Callable[..., TestResponse]) -> None:
    answer = ask(user, order(user), headers={"Prefer": "wait=31"})
    assert refused(answer) == (422, "validation_failed")
    assert answer.get_json()["errors"][0]["field"] == "Prefer"


@pytest.mark.parametrize("ask", [cancel, retry])
def test_it_counts_against_the_callers_limit(
    make_app: Callable[..., Flask], signed_in: Callable[[Flask, str], Client], ask: Callable[..., TestResponse]
) -> None:
    client = signed_in(make_app(rate_limit_user="2/minute"), "user")
    job = order(client)
    assert ask(client, job).headers["X-RateLimit-Remaining"] == "0"
    assert refused(ask(client, job)) == (429, "rate_limited")


def test_who_did_it_is_logged(
    user: Client, road: Road, execute: Execute, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_control, "log", structlog.get_logger())  # the present one is bound to an earlier output
    dead = failed_order(road, execute)
    waiting, begun = order(user), order(user, customer_id="two")
    road.redis.lrem(keys.queue("orders"), 1, waiting)
    deliveries = road.reserve()
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        cancel(user, waiting)
        cancel(user, begun)
        retry(user, dead)
        retry(user, dead)
    assert len(deliveries) == 1
    told = [(log["event"], log["job_id"], log["kind"], log["by"]) for log in logs if "by" in log]
    events = [("job_canceled", waiting), ("job_cancel_asked", begun), ("job_retried", str(dead))]
    assert told == [(event, job, "orders.place", str(people["user"].id)) for event, job in events]


def test_a_failed_job_is_run_again_and_succeeds(user: Client, road: Road, execute: Execute) -> None:
    job = str(failed_order(road, execute))
    failed = user.get(f"/v1/jobs/{job}").get_json()
    assert (failed["status"], failed["attempts"], failed["error"]["code"]) == ("failed", 5, "job_failed")
    answer = retry(user, job)
    shown = answer.get_json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{job}")
    assert answer.headers["Retry-After"] == "1"
    assert (shown["status"], shown["attempts"], shown["error"], shown["finished_at"]) == ("queued", 0, None, None)
    assert shown["submitted_at"] == failed["submitted_at"]
    assert user.get("/v1/jobs").get_json()["data"][0]["status"] == "queued"
    road.work()
    done = user.get(f"/v1/jobs/{job}").get_json()
    assert (done["status"], done["attempts"], done["result"]["customer_id"]) == ("succeeded", 1, "one")
    assert done["result"]["created_at"] == failed["submitted_at"], "its effective moment is still the first"
    assert user.get(done["links"]["resource"]).status_code == 200
    assert receipts(road) == [(job, "succeeded", 2, 1)]


def test_one_that_fails_again_can_be_run_again(user: Client, road: Road, execute: Execute) -> None:
    job = failed_order(road, execute)
    for run in (2, 3):
        assert retry(user, job).status_code == 202
        with unwritable(execute):
            use_up(road, job)
        assert receipts(road) == [(str(job), "failed", run, 5)]
    assert retry(user, job).status_code == 202
    road.work()
    assert receipts(road) == [(str(job), "succeeded", 4, 1)]


def test_fifty_at_once_make_one_run(user: Client, road: Road, execute: Execute) -> None:
    job = failed_order(road, execute)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: retry(user, job), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert road.redis.llen(keys.queue("orders")) == 1
    assert road.work() == 1
    assert receipts(road) == [(str(job), "succeeded", 2, 1)]
    assert len(road.rows("SELECT FROM orders")) == 1


def test_asked_again_while_it_is_under_way_it_is_shown_as_it_now_is(user: Client, road: Road, execute: Execute) -> None:
    job = failed_order(road, execute)
    retry(user, job)
    road.reserve()
    answer = retry(user, job)
    assert (answer.status_code, answer.get_json()["status"]) == (202, "running")


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.REJECTED, State.CANCELED])
def test_what_has_not_failed_is_not_run_again(user: Client, road: Road, execute: Execute, state: State) -> None:
    job = order(user)
    road.work()
    execute("UPDATE receipts SET state = %s", state.value)
    answer = retry(user, job)
    assert (*refused(answer), answer.get_json()["job_status"]) == (409, "job_not_failed", state)
    assert state in answer.get_json()["detail"]
    assert road.work() == 0


def test_what_is_not_over_is_not_run_again(user: Client, road: Road) -> None:
    job = order(user)
    for status in ("queued", "running"):
        answer = retry(user, job)
        assert (*refused(answer), answer.get_json()["job_status"]) == (409, "job_not_failed", status)
        road.reserve()


def test_what_was_canceled_on_its_second_run_is_not_run_again(user: Client, road: Road, execute: Execute) -> None:
    job = failed_order(road, execute)
    retry(user, job)
    assert cancel(user, job).status_code == 202, "a worker has had it, in an earlier run"
    road.work()
    assert receipts(road) == [(str(job), "canceled", 2, 1)]
    assert refused(retry(user, job)) == (409, "job_not_failed")


def test_what_nothing_is_left_of_cannot_be_run_again(user: Client, road: Road, execute: Execute) -> None:
    job = failed_order(road, execute)
    execute("UPDATE receipts SET envelope = NULL")
    assert refused(retry(user, job)) == (409, "job_not_rerunnable")
    assert road.work() == 0


def test_a_run_that_has_no_room_is_refused_and_can_be_asked_for_later(
    make_app: Callable[..., Flask], signed_in: Callable[[Flask, str], Client], road: Road, execute: Execute
) -> None:
    job = failed_order(road, execute)
    client = signed_in(make_app(max_queue_depth=1), "user")
    order(client)
    assert refused(retry(client, job)) == (503, "queue_full")
    road.work()
    assert retry(client, job).status_code == 202


def test_a_run_whose_sender_has_lost_the_right_is_rejected(
    user: Client, admin: Client, road: Road, execute: Execute, people: dict[str, Person]
) -> None:
    job = failed_order(road, execute)
    execute("UPDATE users SET disabled_at = now() WHERE id = %s", str(people["user"].id))
    assert retry(admin, job).status_code == 202
    road.work()
    shown = admin.get(f"/v1/jobs/{job}").get_json()
    assert (shown["status"], shown["error"]["code"]) == ("rejected", "forbidden")


def test_whoever_waits_hears_how_the_new_run_ended(user: Client, road: Road, execute: Execute, worker: None) -> None:
    job = failed_order(road, execute)
    answer = retry(user, job, headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.get_json()["status"]) == (200, "succeeded")
    assert answer.headers["Preference-Applied"] == "wait=20"


def test_a_job_that_waits_is_found_by_its_key_after_it_was_canceled(user: Client, road: Road) -> None:
    key = {"Idempotency-Key": "once"}
    job = user.post("/v1/orders", ORDER, headers=key).get_json()["id"]
    cancel(user, job)
    for _ in range(2):
        again = user.post("/v1/orders", ORDER, headers=key)
        assert (again.status_code, again.get_json()["id"], again.get_json()["status"]) == (202, job, "canceled")
        road.work()


@pytest.mark.parametrize("asked", ["run_at=2030-01-01T00:00:00Z", "priority=high", "x=1"])
def test_what_is_done_at_once_takes_no_terms(admin: Client, road: Road, asked: str) -> None:
    job = road.order("c")
    assert refused(cancel(admin, f"{job}?{asked}")) == (422, "validation_failed")
    assert refused(admin.post(f"/v1/jobs/{job}/retry?{asked}")) == (422, "validation_failed")
    assert refused(admin.post(f"/v1/queues/orders/pause?{asked}")) == (422, "validation_failed")
    assert road.status(job) is State.QUEUED
    assert road.work() == 1
