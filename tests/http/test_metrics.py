"""/metrics: who may read it, what it tells of queues, jobs, requests and stores, and that it is told while others are away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis as RedisClient
from rq.utils import utcformat

from api.services import NAME
from config import Settings
from jobs.kernel import keys, ports
from jobs.kernel.meters import HTTP_SECONDS, JOB_SECONDS
from jobs.kernel.policy import QUEUES, Priority
from jobs.kernel.ports import Lost
from jobs.kernel.tally import tally
from tests.conftest import Person
from tests.gates import Gates
from tests.http.conftest import ORDER, Client, token_of
from tests.road import Road
from tests.scrapes import Scrape

TOKEN = "p0VJ7nXlq2rZ8sYb4tWc6uKd-mEf_1gHhAi3jLoPq9R"
AWAY = {
    "read_database_url": "postgresql://nobody:secret@127.0.0.1:1/none",
    "redis_url": "redis://:secret@127.0.0.1:1/0",
}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(autouse=True)
def nothing_counted(settings: Settings) -> None:
    """What tests before this one have counted is nobody's."""
    tally.forget()


@pytest.fixture
def guarded(make_app: Callable[..., Flask]) -> Flask:
    return make_app(metrics_token=TOKEN)


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def scraped(client: Client, **more: Any) -> Scrape:
    answer = client.get("/metrics", **more)
    assert answer.status_code == 200, answer.get_data()
    assert answer.headers["Cache-Control"] == "no-store"
    assert b"secret" not in answer.get_data()
    return Scrape(answer.get_data(as_text=True), answer.content_type)


@pytest.mark.parametrize(("who", "status"), [("admin", 200), ("user", 403)])
def test_an_admin_may_read_it_and_nobody_elses_token_lets_in(
    app: Flask, signed_in: Callable[[Flask, str], Client], who: str, status: int
) -> None:
    assert signed_in(app, who).get("/metrics").status_code == status


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (bearing(TOKEN), 200),
        ({"Authorization": f"bearer  {TOKEN} "}, 200),
        (bearing(TOKEN[:-1]), 401),
        (bearing(TOKEN + "x"), 401),
        (bearing("é" * 40), 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"X-Metrics-Token": TOKEN}, 401),
        ({}, 401),
    ],
)
def test_whoever_brings_the_token_of_the_setting_may_read_it(guarded: Flask, given: Any, status: int) -> None:
    answer = Client(guarded).get("/metrics", headers=given)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("given", [{"Authorization": "Bearer "}, {"Authorization": "Bearer"}, {}])
def test_without_a_setting_no_token_is_the_right_one(app: Flask, given: dict[str, str]) -> None:
    assert Client(app).get("/metrics", headers=given).status_code == 401


@pytest.mark.parametrize(
    ("environment", "address", "status"),
    [
        ("local", "127.0.0.1", 200),
        ("local", "127.8.8.8", 200),
        ("local", "::1", 200),
        ("local", "10.0.0.1", 401),
        ("local", "nonsense", 401),
        ("production", "127.0.0.1", 401),
    ],
)
def test_locally_the_machine_itself_may_read_it(
    make_app: Callable[..., Flask], environment: str, address: str, status: int
) -> None:
    client = Client(make_app(environment=environment))
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": address}).status_code == status


def test_an_admin_who_has_signed_out_may_not(app: Flask, admin: Client) -> None:
    assert admin.post("/v1/auth/logout").status_code == 204
    answer = admin.get("/metrics")
    assert (answer.status_code, answer.get_json()["code"]) == (401, "session_ended")


def test_an_admin_may_read_it_without_redis_as_long_as_postgresql_vouches_for_them(
    make_app: Callable[..., Flask], people: dict[str, Person], execute: Callable[..., Any]
) -> None:
    app = make_app(redis_url=AWAY["redis_url"])
    admin = Client(app, token_of(app, people["admin"]))
    assert scraped(admin)("millrace_redis_up") == 0
    execute("UPDATE users SET session_version = 2 WHERE id = %s", str(people["admin"].id))
    assert admin.get("/metrics").get_json()["code"] == "session_ended"


def test_it_counts_against_nobody(make_app: Callable[..., Flask], people: dict[str, Person]) -> None:
    app = make_app(rate_limit_user="1/minute")
    admin = Client(app, token_of(app, people["admin"]))
    for _ in range(3):
        answer = admin.get("/metrics")
        assert answer.status_code == 200
        assert "X-RateLimit-Limit" not in answer.headers
    assert admin.get("/v1/circuits").status_code == 200
    assert admin.get("/v1/circuits").status_code == 429


@pytest.mark.parametrize(
    ("accept", "begins"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("application/json", "text/plain; version=0.0.4"),
        ("text/plain; version=0.0.4", "text/plain; version=0.0.4"),
        (f"{OPENMETRICS}; q=0.6, text/plain; version=0.0.4; q=0.3", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text; version=nonsense", "text/plain; version=0.0.4"),
        ("text/plain; version=x; escaping=y", "text/plain; version=0.0.4"),
    ],
)
def test_it_is_told_as_whoever_asks_accepts_it(admin: Client, accept: str, begins: str) -> None:
    answer = admin.get("/metrics", headers={"Accept": accept})
    assert answer.content_type.startswith(begins)
    body = answer.get_data(as_text=True)
    assert body.endswith("# EOF\n") is begins.startswith("application")
    assert Scrape(body, answer.content_type)("millrace_redis_up") == 1


def test_jobs_are_counted_by_kind_and_outcome(admin: Client, user: Client, road: Road) -> None:
    key = {"headers": {"Idempotency-Key": "k"}}
    for _ in range(2):
        assert user.post("/v1/orders", ORDER, **key).status_code == 202
    for _ in range(2):
        assert user.post("/v1/orders", ORDER).status_code == 202
    before = scraped(admin)
    assert before.by("millrace_jobs_accepted_total", "kind", "queue") == {("orders.place", "orders"): 3}
    assert before.by("millrace_jobs_finished_total") == {}
    road.work()
    after = scraped(admin)
    assert after.by("millrace_jobs_finished_total", "kind", "queue", "outcome") == {
        ("orders.place", "orders", "succeeded"): 1,
        ("orders.place", "orders", "rejected"): 2,
    }
    assert after("millrace_job_retries_total", kind="orders.place") == 0, "from the start there is a 0"


def test_kinds_that_are_not_declared_are_told_as_one(admin: Client, redis: RedisClient) -> None:
    counted = {"accepted|one.thing": 1, "accepted|another.thing": 2, "wait|one.thing|1": 3, "wait|another.thing|1": 4}
    redis.hset(keys.METERS, mapping=counted)
    scrape = scraped(admin)
    assert scrape.by("millrace_jobs_accepted_total", "kind", "queue") == {("unknown", "unknown"): 3}
    assert scrape.by("millrace_job_queue_wait_seconds_count", "kind") == {("unknown",): 7}


def test_what_an_earlier_release_has_measured_counts_in_the_next_larger_bucket(
    admin: Client, redis: RedisClient
) -> None:
    kind = "orders.place"
    counted = {f"wait|{kind}|0.7": 1, f"wait|{kind}|1": 2, f"wait|{kind}|7200": 4, f"wait|{kind}|sum": 2_500_000}
    redis.hset(keys.METERS, mapping=counted | {"wait|too|many|labels": 1, "forgotten|x": 1})
    scrape = scraped(admin)
    buckets = scrape.by("millrace_job_queue_wait_seconds_bucket", "le", kind=kind)
    assert buckets == {(f"{bound:.1f}",): 3 for bound in JOB_SECONDS if bound >= 1} | {("+Inf",): 7}
    assert scrape("millrace_job_queue_wait_seconds_count", kind=kind) == 7
    assert scrape("millrace_job_queue_wait_seconds_sum", kind=kind) == 2.5


def test_requests_are_counted_by_route_and_never_by_path(admin: Client, user: Client) -> None:
    job = user.post("/v1/orders", ORDER).get_json()["id"]
    for _ in range(2):
        assert user.get(f"/v1/jobs/{job}").status_code == 200
    assert user.get(f"/v1/jobs/{uuid4()}").status_code == 404
    assert user.get("/no/such/path").status_code == 404
    assert user("BREW", "/v1/orders").status_code == 405
    answer = admin.get("/metrics")
    scrape = Scrape(answer.get_data(as_text=True))
    assert scrape.by("millrace_http_requests_total", "method", "route", "status") == {
        ("POST", "/v1/orders", "202"): 1,
        ("GET", "/v1/jobs/<id>", "200"): 2,
        ("GET", "/v1/jobs/<id>", "404"): 1,
        ("GET", "other", "404"): 1,
        ("other", "other", "405"): 1,
    }
    assert scrape("millrace_http_request_duration_seconds_count", route="/v1/jobs/<id>") == 3
    assert scrape("millrace_http_request_duration_seconds_bucket", route="/v1/jobs/<id>", le="+Inf") == 3
    assert len(scrape.by("millrace_http_request_duration_seconds_bucket", "le")) <= len(HTTP_SECONDS) + 1
    assert job not in answer.get_data(as_text=True)
    assert "such" not in answer.get_data(as_text=True)
    assert scraped(admin)("millrace_http_requests_total", route="/metrics") == 1, "this one will be told by the next"


def test_what_one_process_has_counted_another_tells(
    app: Flask, make_app: Callable[..., Flask], people: dict[str, Person], user: Client
) -> None:
    user.post("/v1/orders", ORDER)
    app.extensions[NAME].counting.add()
    other = make_app()
    scrape = scraped(Client(other, token_of(other, people["admin"])))
    assert scrape("millrace_http_requests_total", route="/v1/orders") == 1
    assert scrape("millrace_jobs_accepted_total", kind="orders.place") == 1


def test_queues_are_told_by_lane_as_they_stand(admin: Client, road: Road, redis: RedisClient) -> None:
    ids = [road.order(f"c{number}", priority=Priority.LOW) for number in range(3)]
    road.order("u", priority=Priority.HIGH)
    road.order("l", run_at=datetime.now(UTC) + timedelta(hours=1))
    late = road.order("d", run_at=datetime.now(UTC) + timedelta(hours=2))
    redis.zadd(keys.SCHEDULED, {str(late): 1}, xx=True)
    redis.hset(
        keys.job(ids[0]), "created_at", utcformat(datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=10))
    )
    redis.sadd(keys.PAUSED, "tasks")
    scrape = scraped(admin)
    assert scrape.by("millrace_queue_depth", "queue", "priority") == {("orders", "low"): 3, ("orders", "high"): 1}
    assert scrape("millrace_queue_oldest_age_seconds", queue="orders") == pytest.approx(600, abs=30)
    assert scrape("millrace_queue_oldest_age_seconds", queue="tasks") == 0
    assert (scrape("millrace_scheduled_jobs"), scrape("millrace_scheduled_jobs_due")) == (2, 1)
    assert scrape.by("millrace_queue_paused", "queue") == {("tasks",): 1}
    assert scrape.by("millrace_queue_leases", "queue") == {}
    road.reserve(3)
    assert scraped(admin).by("millrace_queue_leases", "queue") == {("orders",): 3}
    assert all(scrape("millrace_queue_depth", queue=queue) >= 0 for queue in QUEUES)


def test_workers_and_the_scheduler_are_told_as_long_as_they_are_heard_of(admin: Client, redis: RedisClient) -> None:
    for name, seconds, more in (("a", 1, {}), ("b", 5, {}), ("c", 120, {}), ("d", 1, {"death": "x"}), ("e", 0, None)):
        heard = utcformat((datetime.now(UTC) - timedelta(seconds=seconds)).replace(tzinfo=None))
        if more is not None:
            redis.hset(keys.worker(name), mapping={"last_heartbeat": heard} | more)
        redis.sadd("rq:workers:orders", keys.worker(name))
    redis.sadd("rq:workers:tasks", keys.worker("a"))
    scrape = scraped(admin)
    assert scrape.by("millrace_workers", "queue") == {("orders",): 2, ("tasks",): 1}
    assert scrape("millrace_workers", queue="calls") == 0
    assert scrape("millrace_scheduler_up") == 0
    redis.set("rq:scheduler_lock", "token")
    assert scraped(admin)("millrace_scheduler_up") == 1


def test_circuits_are_told_by_the_state_they_are_in(admin: Client, road: Road) -> None:
    gates = Gates(road)
    gate = gates.make()
    for _ in range(3):
        gates.end(gate, Lost())
    scrape = scraped(admin)
    gates.close()
    assert scrape.by("millrace_circuit_state", "circuit", "state") == {
        (name, "open" if name == gates.name else "closed"): 1 for name in ports.CIRCUITS
    }
    assert scrape("millrace_circuit_failures", circuit=gates.name) == 3


def test_dead_letters_are_told_by_kind_and_counted_anew_every_few_seconds(
    app: Flask, admin: Client, execute: Callable[..., Any], people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(kind: str, state: str = "failed", discarded: str | None = None) -> None:
        execute(
            "INSERT INTO receipts (id, owner_id, kind, state, run, attempts, submitted_at, finished_at, discarded_at)"
            " VALUES (gen_random_uuid(), %s, %s, %s, 1, 1, now(), now(), %s)",
            *(str(people["user"].id), kind, state, discarded),
        )

    assert scraped(admin).by("millrace_dead_letters") == {}
    for kind in ("orders.place", "orders.place", "one.thing", "another.thing"):
        dead(kind)
    dead("orders.place", "rejected")
    dead("orders.place", discarded="now")
    assert scraped(admin).by("millrace_dead_letters") == {}, "as it was seconds ago"
    monkeypatch.setattr("api.gauges.KEPT", 0)
    app.extensions[NAME].in_database._until = 0
    scrape = scraped(admin)
    assert scrape.by("millrace_dead_letters", "kind", "queue") == {
        ("orders.place", "orders"): 2,
        ("unknown", "unknown"): 2,
    }
    assert scrape("millrace_database_up") == 1


def test_redis_is_told_by_its_memory_and_whether_it_keeps_what_it_took(admin: Client, redis: RedisClient) -> None:
    scrape = scraped(admin)
    assert scrape("millrace_redis_memory_used_bytes") > 100_000
    assert scrape("millrace_redis_memory_max_bytes") == redis.info("memory")["maxmemory"]
    assert scrape("millrace_redis_durable") == 1
    redis.config_set("appendfsync", "everysec")
    try:
        assert scraped(admin)("millrace_redis_durable") == 0
    finally:
        redis.config_set("appendfsync", "always")


@pytest.mark.parametrize("away", [{"redis_url"}, {"read_database_url"}, {"redis_url", "read_database_url"}])
def test_what_is_known_is_told_while_others_are_away(make_app: Callable[..., Flask], away: set[str]) -> None:
    client = Client(make_app(metrics_token=TOKEN, **{name: AWAY[name] for name in away}))
    scrape = scraped(client, headers=bearing(TOKEN))
    assert scrape("millrace_redis_up") == ("redis_url" not in away)
    assert scrape("millrace_database_up") == ("read_database_url" not in away)
    assert scrape("millrace_info", version="1.0.0") == 1
    for name in ("millrace_jobs_accepted_total", "millrace_queue_depth"):
        assert (name in scrape.labels) == ("redis_url" not in away), "what is not known is not told as 0"


def test_after_redis_has_lost_everything_counters_begin_anew(admin: Client, user: Client, redis: RedisClient) -> None:
    user.post("/v1/orders", ORDER)
    assert scraped(admin)("millrace_jobs_accepted_total", kind="orders.place") == 1
    sessions = {key: redis.dump(key) for key in redis.keys("millrace:sessions:*")}
    redis.flushall()
    for key, kept in sessions.items():
        redis.restore(key, 0, kept)
    assert scraped(admin)("millrace_jobs_accepted_total", kind="orders.place") == 0


@pytest.fixture
def wrong_type(redis: RedisClient) -> Iterator[None]:
    redis.set(keys.METERS, "x")
    yield
    redis.delete(keys.METERS)


@pytest.mark.usefixtures("wrong_type")
def test_a_redis_that_refuses_is_told_as_one_that_is_away(make_app: Callable[..., Flask]) -> None:
    client = Client(make_app(metrics_token=TOKEN))
    assert scraped(client, headers=bearing(TOKEN))("millrace_redis_up") == 0
