"""Orders, by the real executor on real PostgreSQL: the kinds, and the order timing rule."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from jobs.kernel.outcome import State
from jobs.kernel.submit import new_id
from models.views import instant
from tests.conftest import Person
from tests.road import Road

WINDOW = timedelta(hours=3)


def placed(road: Road, customer: str = "c", **more: Any) -> UUID:
    job_id = road.order(customer, **more)
    road.work()
    assert road.status(job_id) is State.SUCCEEDED, road.job(job_id)
    return job_id


def age(execute: Callable[..., Any], order: UUID, by: timedelta) -> None:
    """Let an order have been created and updated `by` earlier."""
    execute(
        "UPDATE orders SET created_at = created_at - %s, updated_at = updated_at - %s WHERE id = %s::uuid",
        by,
        by,
        str(order),
    )


def test_an_order_bears_its_jobs_id_and_the_moment_it_was_accepted(road: Road) -> None:
    job_id = road.order("c", body={"services": ["456", "123"], "total_fee": 7.5})
    road.work()
    job = road.job(job_id)
    assert job["result"] == {
        "id": str(job_id),
        "user_id": str(road.owner),
        "customer_id": "c",
        "services": ["456", "123"],
        "total_fee": "7.50",
        "scheduled_for": None,
        "created_at": job["submitted_at"],
        "updated_at": job["submitted_at"],
        "version": 1,
    }


def test_without_a_customer_the_caller_is_the_customer(road: Road) -> None:
    job_id = road.submit("orders.place", {"services": ["123"], "total_fee": "1"})
    road.work()
    assert road.job(job_id)["result"]["customer_id"] == str(road.owner)


def test_an_unknown_service_is_rejected(road: Road) -> None:
    job_id = road.order("c", body={"services": ["123", "999"]})
    road.work()
    assert (road.status(job_id), road.code(job_id)) == (State.REJECTED, "unknown_service")


@pytest.mark.parametrize("batch", [1, 100])
def test_of_many_orders_for_one_customer_the_first_accepted_is_the_one(road: Road, batch: int) -> None:
    ids = [road.order("c") for _ in range(20)]
    road.work(batch)
    assert [road.status(job_id) for job_id in ids] == [State.SUCCEEDED] + [State.REJECTED] * 19
    assert {road.code(job_id) for job_id in ids[1:]} == {"order_too_soon"}


def test_a_refusal_names_the_first_moment_that_would_be_accepted(road: Road) -> None:
    first = placed(road)
    second = road.order("c")
    road.work()
    error = road.job(second)["error"]
    created = datetime.fromisoformat(road.job(first)["result"]["created_at"])
    assert error["status"] == 409
    assert error["allowed_at"] == instant(created + WINDOW + timedelta(microseconds=1))
    assert WINDOW.total_seconds() - 5 < error["retry_after"] <= WINDOW.total_seconds()


def test_customers_and_owners_do_not_stand_in_each_others_way(road: Road, people: dict[str, Person]) -> None:
    ids = [road.order("a"), road.order("b"), road.order("a", owner=people["other"].id)]
    road.work()
    assert {road.status(job_id) for job_id in ids} == {State.SUCCEEDED}


def test_in_scope_global_there_is_one_order_anywhere(road: Road, people: dict[str, Person]) -> None:
    road = road.with_settings(order_window_scope="global")
    ids = [road.order("a"), road.order("b", owner=people["other"].id)]
    road.work()
    assert [road.status(job_id) for job_id in ids] == [State.SUCCEEDED, State.REJECTED]


def test_in_scope_off_nothing_is_too_soon(road: Road) -> None:
    road = road.with_settings(order_window_scope="off")
    ids = [road.order("a") for _ in range(3)]
    road.work()
    assert {road.status(job_id) for job_id in ids} == {State.SUCCEEDED}


def test_the_window_is_a_setting(road: Road, execute: Callable[..., Any]) -> None:
    road = road.with_settings(order_window_seconds=60)
    age(execute, placed(road), timedelta(seconds=61))
    placed(road)


@pytest.mark.parametrize(("hours", "state"), [(2.9, State.REJECTED), (3.1, State.SUCCEEDED)])
def test_an_update_counts_from_the_orders_own_last_change(
    road: Road, execute: Callable[..., Any], hours: float, state: State
) -> None:
    order = placed(road)
    age(execute, order, timedelta(hours=hours))
    amend = road.submit("orders.amend", {"total_fee": "2"}, target=order)
    road.work()
    assert road.status(amend) is state


def test_an_update_holds_its_own_window_and_keeps_the_one_before(road: Road, execute: Callable[..., Any]) -> None:
    order = placed(road)
    age(execute, order, timedelta(hours=4))
    amend = road.submit("orders.amend", {"services": ["789"]}, target=order)
    road.work()
    shown = road.job(amend)["result"]
    assert (shown["services"], shown["total_fee"], shown["version"]) == (["789"], "100.00", 2)
    assert shown["created_at"] < shown["updated_at"] == road.job(amend)["submitted_at"]
    late = road.order("c")
    road.work()
    assert road.code(late) == "order_too_soon"


def test_earlier_updates_of_an_order_still_count_for_a_late_command(road: Road, execute: Callable[..., Any]) -> None:
    order = placed(road)
    now = datetime.now(UTC)
    execute(
        "UPDATE orders SET created_at = %s, earlier_updates = ARRAY[%s::timestamptz], updated_at = %s",
        now - timedelta(hours=20),
        now - timedelta(hours=10),
        now - timedelta(hours=5),
    )
    late = road.order("c")
    moment = now - timedelta(hours=9)
    micros = int(moment.timestamp() * 1_000_000)
    road.redis.hset(f"rq:job:{late}", mapping={"due": micros, "moment": micros})
    road.work()
    assert road.code(late) == "order_too_soon"
    assert order


def test_a_replaced_order_takes_defaults_for_what_is_left_out(road: Road, execute: Callable[..., Any]) -> None:
    order = placed(road, body={"scheduled_for": "2027-01-01T00:00:00+01:00"})
    age(execute, order, timedelta(hours=4))
    replace = road.submit("orders.replace", {"services": ["789"], "total_fee": "1.00"}, target=order)
    road.work()
    shown = road.job(replace)["result"]
    assert (shown["scheduled_for"], shown["customer_id"]) == (None, str(road.owner))


def test_moving_to_another_customer_is_checked_in_both_scopes(road: Road, execute: Callable[..., Any]) -> None:
    moving = placed(road, "a")
    age(execute, moving, timedelta(hours=4))
    placed(road, "b")
    into = road.submit("orders.amend", {"customer_id": "b"}, target=moving)
    road.work()
    assert road.code(into) == "order_too_soon"
    age(execute, moving, timedelta(hours=-3))
    away = road.submit("orders.amend", {"customer_id": "free"}, target=moving)
    road.work()
    assert road.code(away) == "order_too_soon"


def test_deleting_is_never_refused_and_frees_what_the_order_held(road: Road) -> None:
    order = placed(road)
    delete = road.submit("orders.delete", target=order)
    again = road.order("c")
    road.work()
    assert [road.status(job_id) for job_id in (delete, again)] == [State.SUCCEEDED, State.SUCCEEDED]
    assert road.job(delete)["result"] is None
    assert [row.id for row in road.rows("SELECT id FROM orders")] == [again]


def test_an_order_placed_and_deleted_in_one_batch_leaves_nothing(road: Road) -> None:
    order = road.order("c")
    delete = road.submit("orders.delete", target=order)
    after = road.order("c")
    road.work()
    assert road.status(order) is State.SUCCEEDED
    assert road.status(delete) is State.SUCCEEDED
    assert road.status(after) is State.SUCCEEDED
    assert [row.id for row in road.rows("SELECT id FROM orders")] == [after]


@pytest.mark.parametrize("kind", ["orders.amend", "orders.replace", "orders.delete"])
def test_what_is_gone_is_not_found_and_what_is_foreign_forbidden(
    road: Road, people: dict[str, Person], kind: str
) -> None:
    """The API does not let anybody name a foreign order but admins; who is none any more is forbidden to."""
    order = placed(road)
    body = {} if kind == "orders.delete" else {"services": ["123"], "total_fee": "1"}
    foreign = road.submit(kind, body, target=order, owner=people["other"].id)
    gone = road.submit(kind, body, target=new_id())
    road.work()
    assert [(road.status(job_id), road.code(job_id)) for job_id in (foreign, gone)] == [
        (State.REJECTED, "forbidden"),
        (State.REJECTED, "not_found"),
    ]
    assert road.rows("SELECT version FROM orders") == [(1,)]


def test_an_admin_may_change_anybodys_order_and_its_owner_stays(
    road: Road, people: dict[str, Person], execute: Callable[..., Any]
) -> None:
    order = placed(road)
    age(execute, order, timedelta(hours=4))
    amend = road.submit("orders.amend", {"total_fee": "5"}, target=order, owner=people["admin"].id)
    road.work()
    assert road.job(amend)["result"]["user_id"] == str(road.owner)


def test_an_older_update_never_overwrites_a_newer_one(road: Road, execute: Callable[..., Any]) -> None:
    road = road.with_settings(order_window_scope="off")
    order = placed(road)
    older = road.submit("orders.amend", {"total_fee": "1"}, target=order)
    (delivery,) = road.reserve()
    road.submit("orders.amend", {"total_fee": "2"}, target=order)
    road.work()
    road.leases.settle(road.execute([delivery]))
    assert road.code(older) == "superseded"
    assert road.rows("SELECT total_fee::text FROM orders") == [("2.00",)]


def test_deleting_is_not_superseded_either(road: Road) -> None:
    road = road.with_settings(order_window_scope="off")
    order = placed(road)
    delete = road.submit("orders.delete", target=order)
    (delivery,) = road.reserve()
    road.submit("orders.amend", {"total_fee": "2"}, target=order)
    road.work()
    road.leases.settle(road.execute([delivery]))
    assert road.status(delete) is State.SUCCEEDED
    assert road.rows("SELECT id FROM orders") == []


def test_an_older_update_that_names_the_present_version_is_made_and_holds_its_own_moment(
    road: Road, execute: Callable[..., Any]
) -> None:
    order = placed(road)
    age(execute, order, timedelta(hours=8))
    older = road.submit("orders.amend", {"total_fee": "1"}, target=order, if_match=("v2",))
    (delivery,) = road.reserve()
    past = delivery.submitted_at - timedelta(hours=4)
    newer = road.submit("orders.amend", {"total_fee": "2"}, target=order)
    road.work()
    road.leases.settle(road.execute([delivery._replace(moment=past)]))
    assert (road.status(newer), road.status(older)) == (State.SUCCEEDED, State.SUCCEEDED)
    ((earlier, updated),) = road.rows("SELECT earlier_updates, updated_at FROM orders")
    assert earlier == [past]
    assert instant(updated) == road.job(newer)["submitted_at"]


@pytest.mark.parametrize(
    ("tags", "code"), [(("v1",), None), (("*",), None), (("v9", "v1"), None), (("v2",), "precondition_failed")]
)
def test_if_match_is_decided_by_the_worker(
    road: Road, execute: Callable[..., Any], tags: tuple[str, ...], code: str | None
) -> None:
    order = placed(road)
    age(execute, order, timedelta(hours=4))
    amend = road.submit("orders.amend", {"total_fee": "5"}, target=order, if_match=tags)
    road.work()
    assert road.code(amend) == code


def test_an_order_that_may_wait_is_scheduled_for_the_first_free_moment_and_then_placed(
    road: Road, execute: Callable[..., Any]
) -> None:
    first = placed(road)
    waiting = road.order("c", body={"if_too_soon": "wait"})
    road.work()
    allowed_at = datetime.fromisoformat(road.job(first)["submitted_at"]) + WINDOW + timedelta(microseconds=1)
    job = road.job(waiting)
    assert (job["status"], job["run_at"], job["attempts"]) == ("scheduled", instant(allowed_at), 0)
    road.make_due(waiting)
    road.work()
    job = road.job(waiting)
    assert job["status"] == "succeeded"
    assert job["result"]["created_at"] == instant(allowed_at)


def test_an_order_waits_eight_times_and_is_then_rejected(road: Road, execute: Callable[..., Any]) -> None:
    waiting = road.order("c", body={"if_too_soon": "wait"})
    for waits in range(9):
        assert road.redis.hget(f"rq:job:{waiting}", "waits") == (str(waits).encode() if waits else None)
        moment = road.redis.hget(f"rq:job:{waiting}", "moment")
        at = datetime.fromtimestamp(int(moment) / 1_000_000, UTC) if moment else datetime.now(UTC)
        execute("TRUNCATE orders")
        execute(
            "INSERT INTO orders (id, owner_id, customer_id, services, total_fee, created_at, updated_at)"
            " VALUES (uuidv7(), %s::uuid, 'c', '{123}', 1, %s, %s)",
            str(road.owner),
            at,
            at,
        )
        road.work()
        road.make_due(waiting)
    assert (road.status(waiting), road.code(waiting)) == (State.REJECTED, "order_too_soon")


def test_the_moment_of_a_job_with_a_time_is_that_time(road: Road) -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
    later = road.order("c", run_at=due)
    now = placed(road)
    assert road.job(later)["status"] == "scheduled"
    road.make_due(later)
    road.work()
    job = road.job(later)
    assert (job["status"], job["result"]["created_at"], job["run_at"]) == ("succeeded", instant(due), instant(due))
    assert now


def test_many_workers_at_once_accept_exactly_one_order_per_customer(road: Road) -> None:
    ids = [road.order(f"c{n % 5}") for n in range(200)]

    def one_worker(_: int) -> None:
        leases = road.worker()
        while deliveries := leases.reserve(["orders"], 7):
            leases.settle(road.execute(deliveries))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one_worker, range(4)))
    states = [road.status(job_id) for job_id in ids]
    assert (states.count(State.SUCCEEDED), states.count(State.REJECTED)) == (5, 195)
    assert road.rows("SELECT count(*) FROM orders") == [(5,)]


def test_a_service_that_is_new_in_the_catalogue_is_known_at_once(road: Road) -> None:
    before = road.order("before")
    road.work()
    with road.sessions() as session:
        session.execute(text("INSERT INTO services (code, name) VALUES ('brand-new', 'Brand new')"))
        session.commit()
    try:
        after = road.order("after", body={"services": ["brand-new"]})
        road.work()
        assert (road.status(before), road.status(after)) == (State.SUCCEEDED, State.SUCCEEDED)
    finally:
        with road.sessions() as session:
            session.execute(text("DELETE FROM services WHERE code = 'brand-new'"))
            session.commit()
