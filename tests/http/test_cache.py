"""Reads are kept in Redis, for whoever may see them, and for as long as they are true (CONTRACT.md §8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from time import sleep
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from psutil import Process
from redis import Redis as RedisClient
from sqlalchemy import event
from werkzeug.test import TestResponse

from api import cache, counters, limits
from api.services import NAME
from jobs.kernel import effects, keys
from jobs.kernel.effects import scope
from local.redis import Redis
from tests.conftest import Person
from tests.http.conftest import Client, statements, token_of
from tests.processes import until
from tests.road import Road
from tests.system.threads import at_once

AMENDED = {"total_fee": "200.00"}
MUCH = {"order_window_scope": "off", "cache_ttl_seconds": 60}


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(**MUCH)


@pytest.fixture
def road(road: Road) -> Iterator[Road]:
    made = road.with_settings(**MUCH)
    yield made
    made.close()


@pytest.fixture
def order(road: Road) -> UUID:
    """An order of the user's."""
    placed = road.order("c")
    road.work()
    return placed


def seen(client: Client, path: str, **more: Any) -> tuple[str | None, int]:
    """Where an answer came from, and its status."""
    answer = client.get(path, **more)
    return answer.headers.get("X-Cache"), answer.status_code


def fee(answer: TestResponse) -> str:
    """What the order costs, or the first one of a list."""
    body = answer.get_json()
    return str((body["data"][0] if "data" in body else body)["total_fee"])


def without_counts(answer: TestResponse) -> dict[str, str]:
    own = ("X-Request-ID", "X-Cache", "X-RateLimit-Remaining", "X-RateLimit-Reset")
    return {name: value for name, value in answer.headers if name not in own}


@contextmanager
def after_reading(app: Flask, *then: Callable[[], object]) -> Iterator[None]:
    """Do something when the next read has what PostgreSQL answered, and has not kept it yet; and when those after it have."""
    left = list(then)

    def notice(*_: object) -> None:
        if left:
            left.pop(0)()

    engine = app.extensions[NAME].readers.kw["bind"]
    event.listen(engine, "after_cursor_execute", notice)
    yield
    event.remove(engine, "after_cursor_execute", notice)


@pytest.mark.parametrize("path", ["/v1/orders/{id}", "/v1/orders?limit=5", "/v1/users/me", "/v1/calls"])
def test_what_was_read_is_kept(app: Flask, user: Client, order: UUID, path: str) -> None:
    first = user.get(path.format(id=order))
    with statements(app) as sent:
        second = user.get(path.format(id=order))
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("miss", "hit")
    assert sent == []
    assert first.get_data() == second.get_data()
    assert without_counts(first) == without_counts(second)


def test_a_page_that_is_kept_is_that_of_its_query(user: Client, order: UUID) -> None:
    for query in ("", "?limit=1", "?customer_id=c", "?customer_id=d"):
        assert seen(user, f"/v1/orders{query}") == ("miss", 200)
    assert user.get("/v1/orders?customer_id=d").get_json()["data"] == []


def test_a_head_is_answered_from_what_a_get_left(user: Client, order: UUID) -> None:
    got = user.get(f"/v1/orders/{order}")
    head = user("HEAD", f"/v1/orders/{order}")
    assert (head.headers["X-Cache"], head.status_code, head.get_data()) == ("hit", 200, b"")
    assert without_counts(head) == without_counts(got)


def test_what_the_client_has_is_not_sent_again_from_the_cache_either(user: Client, order: UUID) -> None:
    path = f"/v1/orders/{order}"
    tag = user.get(path).headers["ETag"]
    known = user.get(path, headers={"If-None-Match": tag})
    assert (known.headers["X-Cache"], known.status_code, known.get_data()) == ("hit", 304, b"")
    assert known.headers["ETag"] == tag
    assert seen(user, path, headers={"If-None-Match": '"another"'}) == ("hit", 200)


def test_who_always_asks_with_a_tag_is_served_from_the_cache_too(app: Flask, user: Client, order: UUID) -> None:
    path = f"/v1/orders/{order}"
    tag = user.get(path).headers["ETag"]
    app.extensions[NAME].redis.unlink(keys.cache(scope("orders", user_id(app, user))))
    assert [seen(user, path, headers={"If-None-Match": tag}) for _ in range(2)] == [("miss", 304), ("hit", 304)]
    assert user.get(path).get_json()["id"] == str(order)


def user_id(app: Flask, client: Client) -> UUID:
    return UUID(client.get("/v1/users/me").get_json()["id"])


def test_nobody_else_is_shown_it(user: Client, other: Client, admin: Client, order: UUID) -> None:
    path = f"/v1/orders/{order}"
    assert [seen(user, path) for _ in range(2)] == [("miss", 200), ("hit", 200)]
    assert [seen(other, path) for _ in range(2)] == [("miss", 404), ("miss", 404)]
    assert [seen(admin, path) for _ in range(2)] == [("miss", 200), ("hit", 200)]
    assert user.get("/v1/orders").get_json() == admin.get("/v1/orders").get_json()
    assert other.get("/v1/orders").get_json()["data"] == []


def test_what_only_admins_see_stays_theirs(user: Client, admin: Client) -> None:
    assert [seen(admin, "/v1/users") for _ in range(2)] == [("miss", 200), ("hit", 200)]
    assert user.get("/v1/users").status_code == 403


def test_what_is_not_there_is_looked_for_each_time(user: Client, road: Road) -> None:
    placed = road.order("c")
    path = f"/v1/orders/{placed}"
    assert [seen(user, path) for _ in range(2)] == [("miss", 404), ("miss", 404)]
    road.work()
    assert seen(user, path) == ("miss", 200)


def test_what_cannot_be_read_is_not_kept(user: Client) -> None:
    assert [seen(user, "/v1/orders?limit=0") for _ in range(2)] == [("miss", 422), ("miss", 422)]


@pytest.mark.parametrize("who", ["user", "admin"])
@pytest.mark.parametrize("path", ["/v1/orders/{id}", "/v1/orders"])
def test_a_write_drops_what_its_owner_and_admins_see(
    app: Flask, signed_in: Callable[[Flask, str], Client], road: Road, order: UUID, who: str, path: str
) -> None:
    client, where = signed_in(app, who), path.format(id=order)
    assert [fee(client.get(where)) for _ in range(2)] == ["100.00"] * 2
    road.submit("orders.amend", AMENDED, target=order)
    road.work()
    answer = client.get(where)
    assert (answer.headers["X-Cache"], fee(answer)) == ("miss", "200.00")


@pytest.mark.parametrize(("kind", "body", "left"), [("orders.amend", AMENDED, 1), ("orders.delete", {}, 0)])
def test_an_order_that_an_admin_changes_is_dropped_for_its_owner(
    user: Client, road: Road, people: dict[str, Person], order: UUID, kind: str, body: dict[str, str], left: int
) -> None:
    assert fee(user.get("/v1/orders")) == "100.00"
    road.submit(kind, body, target=order, owner=people["admin"].id)
    road.work()
    answer = user.get("/v1/orders")
    assert (answer.headers["X-Cache"], len(answer.get_json()["data"])) == ("miss", left)


def test_a_user_whom_an_admin_changes_sees_it(user: Client, road: Road, people: dict[str, Person]) -> None:
    assert user.get("/v1/users/me").get_json()["name"] == "user"
    road.submit("users.amend", {"name": "Ada"}, target=people["user"].id, owner=people["admin"].id)
    road.work()
    assert user.get("/v1/users/me").get_json()["name"] == "Ada"


def test_who_registers_is_on_the_list_of_users(admin: Client, road: Road) -> None:
    before = len(admin.get("/v1/users").get_json()["data"])
    body = {"email": "new@example.com", "password": "$argon2id$", "name": "New"}
    road.submit("users.register", body, owner=None)
    road.work()
    assert len(admin.get("/v1/users").get_json()["data"]) == before + 1


def test_what_the_carrier_tells_of_a_call_is_seen(user: Client, road: Road, call_of: Callable[..., str]) -> None:
    call = call_of("user", status="queued", sid="CA1")
    assert user.get(f"/v1/calls/{call}").get_json()["status"] == "queued"
    road.submit("calls.record_status", {"sid": "CA1", "status": "ringing", "call": call}, owner=None)
    road.work()
    assert user.get(f"/v1/calls/{call}").get_json()["status"] == "ringing"


def test_a_step_of_a_conducted_job_is_seen_before_it_is_at_its_end(user: Client, road: Road) -> None:
    """Nobody answers where calls go to: it is committed that the carrier was asked, and the job waits."""
    assert user.get("/v1/calls").get_json()["data"] == []
    body = {"phone_number": "+14155550123", "customer_name": "Ada", "workflow": "support"}
    placed = road.submit("calls.place", body)
    (delivery,) = road.reserve()
    road.execute([delivery])
    assert [call["id"] for call in user.get("/v1/calls").get_json()["data"]] == [str(placed)]


def test_a_write_of_somebody_else_leaves_it(user: Client, road: Road, people: dict[str, Person], order: UUID) -> None:
    assert seen(user, "/v1/orders") == ("miss", 200)
    road.order("c", owner=people["other"].id)
    road.submit("users.amend", {"name": "Ada"}, target=road.owner)
    road.work()
    assert seen(user, "/v1/orders") == ("hit", 200)


@pytest.mark.parametrize("told", ["/v1/jobs/{id}", "/v1/jobs?status=succeeded"])
def test_what_a_worker_did_that_died_before_it_told_is_seen_by_whom_the_api_tells(
    user: Client, road: Road, order: UUID, told: str
) -> None:
    path = f"/v1/orders/{order}"
    assert fee(user.get(path)) == "100.00"
    job = road.submit("orders.amend", AMENDED, target=order)
    road.execute(road.reserve())  # committed, and never settled
    body = user.get(told.format(id=job)).get_json()
    assert "succeeded" in (body.get("status"), body.get("data", [{}])[0].get("status"))
    assert fee(user.get(path)) == "200.00"


def test_what_a_worker_did_whose_redis_lost_all_meanwhile_is_seen_by_whom_the_api_tells(
    app: Flask, road: Road, redis: RedisClient, people: dict[str, Person], order: UUID
) -> None:
    path = f"/v1/orders/{order}"
    job = road.submit("orders.amend", AMENDED, target=order)
    deliveries = road.reserve()
    redis.flushall()
    user = Client(app, token_of(app, people["user"]))
    assert fee(user.get(path)) == "100.00"
    road.execute(deliveries)
    assert user.get(f"/v1/jobs/{job}").get_json()["status"] == "succeeded"
    assert fee(user.get(path)) == "200.00"


def test_the_worker_that_finds_the_receipt_of_a_dead_one_drops_as_well(user: Client, road: Road, order: UUID) -> None:
    path = f"/v1/orders/{order}"
    road.submit("orders.amend", AMENDED, target=order)
    with_receipt = road.reserve()
    assert fee(user.get(path)) == "100.00"
    road.execute(with_receipt)
    road.expire_leases()
    road.work()
    assert fee(user.get(path)) == "200.00"


@pytest.mark.parametrize("told", ["/v1/jobs/{id}", "/v1/jobs"])
def test_a_job_that_is_settled_is_told_without_dropping_anything(
    user: Client, road: Road, order: UUID, told: str
) -> None:
    assert seen(user, "/v1/orders") == ("miss", 200)
    assert user.get(told.format(id=order)).status_code == 200
    assert seen(user, "/v1/orders") == ("hit", 200)


@pytest.mark.parametrize("path", ["/v1/orders/{id}", "/v1/orders"])
def test_what_was_read_before_a_commit_is_not_kept_after_it(
    app: Flask, user: Client, road: Road, order: UUID, path: str
) -> None:
    where = path.format(id=order)
    road.submit("orders.amend", AMENDED, target=order)
    with after_reading(app, road.work):
        assert fee(user.get(where)) == "100.00"
    assert fee(user.get(where)) == "200.00"
    assert seen(user, where) == ("hit", 200)


def test_pages_go_with_their_time(app: Flask, user: Client, redis: RedisClient, order: UUID) -> None:
    seen(user, "/v1/orders")
    key = keys.cache(scope("orders", user_id(app, user)))
    assert 0 < redis.ttl(key) <= 60
    redis.pexpire(key, 1)
    until(lambda: not redis.exists(key))
    assert seen(user, "/v1/orders") == ("miss", 200)


@pytest.mark.parametrize(("spare", "second"), [(0, "hit"), (-1, "miss")])
def test_what_is_too_long_is_not_kept(
    user: Client, order: UUID, monkeypatch: pytest.MonkeyPatch, spare: int, second: str
) -> None:
    body = user.get("/v1/orders?limit=9").get_data()
    monkeypatch.setattr(cache, "MOST_BYTES", len(body) + 1 + spare)
    assert [seen(user, "/v1/orders?limit=5")[0] for _ in range(2)] == ["miss", second]


def test_so_many_pages_are_kept_of_a_scope(app: Flask, user: Client, redis: RedisClient) -> None:
    for number in range(120):
        assert seen(user, f"/v1/orders?customer_id=c{number}") == ("miss", 200)
    assert redis.hlen(keys.cache(scope("orders", user_id(app, user)))) == 101
    assert [seen(user, f"/v1/orders?customer_id=c{number}")[0] for number in (0, 119)] == ["hit", "miss"]


@pytest.mark.parametrize(("percent", "second"), [(40, "hit"), (41, "miss")])
def test_half_of_what_writes_may_use_is_left_to_them(
    user: Client, redis: RedisClient, percent: int, second: str
) -> None:
    redis.set("millrace:memory", percent)
    assert [seen(user, "/v1/orders")[0] for _ in range(2)] == ["miss", second]


def test_without_a_time_nothing_is_kept(
    make_app: Callable[..., Flask], signed_in: Callable[..., Client], redis: RedisClient
) -> None:
    user = signed_in(make_app(cache_ttl_seconds=0), "user")
    assert [seen(user, "/v1/orders") for _ in range(2)] == [("miss", 200)] * 2
    assert redis.keys(keys.cache("*")) == []


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_without_redis_reads_go_to_postgresql(user: Client, redis_server: Redis, order: UUID, how: str) -> None:
    path = f"/v1/orders/{order}"
    assert seen(user, path) == ("miss", 200)
    process = Process(redis_server.pid)
    process.suspend() if how == "hung" else redis_server.kill()
    try:
        assert [seen(user, path) for _ in range(2)] == [("miss", 200)] * 2
    finally:
        process.resume() if how == "hung" else redis_server.start()


def test_who_was_signed_out_is_shown_nothing_that_is_kept(user: Client, app: Flask, redis: RedisClient) -> None:
    seen(user, "/v1/orders")
    assert seen(user, "/v1/orders") == ("hit", 200)
    redis.delete(keys.sessions(user_id(app, user)))
    assert user.get("/v1/orders").get_json()["code"] == "session_ended"


def test_what_is_kept_counts_against_the_limit(
    make_app: Callable[..., Flask], signed_in: Callable[..., Client], redis: RedisClient
) -> None:
    user = signed_in(make_app(cache_ttl_seconds=60, rate_limit_user="3/minute"), "user")
    assert [seen(user, "/v1/orders")[0] for _ in range(3)] == ["miss", "hit", "hit"]
    left = redis.hlen(redis.keys(keys.cache("*"))[0])
    assert user.get("/v1/orders").status_code == 429
    assert user.get("/v1/orders?limit=2").status_code == 429
    assert redis.hlen(redis.keys(keys.cache("*"))[0]) == left


def test_what_redis_was_not_told_of_hides_what_it_keeps(
    user: Client, road: Road, redis_server: Redis, order: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outcome was told by its receipt while Redis was away; it is back, and has not been told yet."""
    monkeypatch.setattr(effects, "AGAIN", 2.0)
    monkeypatch.setattr(counters, "PAUSE", 0.0)
    path = f"/v1/orders/{order}"
    assert fee(user.get(path)) == "100.00"
    job = road.submit("orders.amend", AMENDED, target=order)
    road.execute(road.reserve())
    process = Process(redis_server.pid)
    process.suspend()
    try:
        assert user.get(f"/v1/jobs/{job}").get_json()["status"] == "succeeded"
    finally:
        process.resume()
    answer = user.get(path)
    assert (answer.headers["X-Cache"], fee(answer)) == ("miss", "200.00")
    until(lambda: seen(user, path)[0] == "hit")
    assert fee(user.get(path)) == "200.00"


def test_behind_a_replica_nothing_is_kept_until_it_has_caught_up(
    app: Flask, user: Client, road: Road, redis: RedisClient, order: UUID
) -> None:
    behind = road.with_settings(read_replica_lag_seconds=30)
    behind.submit("orders.amend", AMENDED, target=order)
    behind.work()
    behind.close()
    assert [seen(user, "/v1/orders") for _ in range(2)] == [("miss", 200)] * 2
    redis.delete(keys.cache(scope("orders", user_id(app, user))))  # as if the time were over
    assert [seen(user, "/v1/orders")[0] for _ in range(2)] == ["miss", "hit"]


@pytest.mark.parametrize("processes", [1, 2])
def test_200_misses_at_once_ask_postgresql_once(
    make_app: Callable[..., Flask],
    people: dict[str, Person],
    order: UUID,
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
) -> None:
    for module, name in ((cache, "PATIENCE"), (cache, "SLOWEST")):
        monkeypatch.setattr(module, name, 60.0)  # 200 threads of a test keep each other waiting for longer
    monkeypatch.setattr(limits, "LEASE", 60_000_000)
    apps = [make_app(**MUCH) for _ in range(processes)]
    tokens = [token_of(app, people["user"]) for app in apps]
    clients = [Client(apps[number % processes], tokens[number % processes]) for number in range(200)]
    with ExitStack() as listening:
        sent = [listening.enter_context(statements(app)) for app in apps]
        for app in apps:
            listening.enter_context(after_reading(app, lambda: sleep(0.2)))
        answers = at_once(lambda number: clients[number].get(f"/v1/orders/{order}"), len(clients))
    assert sum(len(each) for each in sent) == 1
    assert {(answer.status_code, answer.get_data()) for answer in answers} == {(200, answers[0].get_data())}


def test_who_waits_for_what_is_not_there_looks_for_it_too(app: Flask, people: dict[str, Person]) -> None:
    path, token = f"/v1/orders/{uuid4()}", token_of(app, people["user"])
    with after_reading(app, lambda: sleep(0.2)):
        answers = at_once(lambda _: Client(app, token).get(path), 20)
    assert {answer.status_code for answer in answers} == {404}


def test_who_comes_after_a_commit_is_not_given_what_another_read_before_it(
    app: Flask, user: Client, people: dict[str, Person], road: Road, order: UUID
) -> None:
    """Of two who come late, one asks and the other waits: for that one, and not for who asked before the commit."""
    path, token, late = f"/v1/orders/{order}", token_of(app, people["user"]), []
    asks, answer = Event(), Event()
    both = [Thread(target=lambda: late.append(fee(Client(app, token).get(path)))) for _ in range(2)]
    road.submit("orders.amend", AMENDED, target=order)

    def commit_and_have_both_come() -> None:
        road.work()
        both[0].start()
        assert asks.wait(10)
        both[1].start()
        both[1].join(0.5)

    def hold() -> None:
        asks.set()
        answer.wait(10)

    with after_reading(app, commit_and_have_both_come, hold):
        assert fee(user.get(path)) == "100.00"
        both[1].join(0.5)
        answer.set()
        for each in both:
            each.join(10)
    assert late == ["200.00", "200.00"]


def test_a_redis_that_takes_no_writes_keeps_no_outcome_from_being_told(
    user: Client, road: Road, redis: RedisClient, order: UUID
) -> None:
    """And once it takes them again, what reads have kept is dropped before it is shown again."""
    path = f"/v1/orders/{order}"
    assert [seen(user, path)[0] for _ in range(2)] == ["miss", "hit"]
    job = road.submit("orders.amend", AMENDED, target=order)
    road.execute(road.reserve())  # committed, and never told
    redis.config_set("min-replicas-to-write", 1)
    try:
        assert user.get(f"/v1/jobs/{job}").get_json()["status"] == "succeeded"
        assert (user.get(path).headers["X-Cache"], fee(user.get(path))) == ("miss", "200.00")
    finally:
        redis.config_set("min-replicas-to-write", 0)
    until(lambda: seen(user, path)[0] == "hit")
    assert fee(user.get(path)) == "200.00"
