"""A key whose job nobody remembers any more, while what that job made is still there: said at once, and nothing done."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jobs.kernel import keys
from jobs.kernel.outcome import State
from jobs.kernel.submit import keyed_id
from local.carrier import Carrier
from tests.calls import ANSWERED, BUSY, LOST, waiting
from tests.conftest import Person
from tests.events import EVENT
from tests.road import Road

Execute = Callable[..., Any]

ORDER = {"services": ["123"], "total_fee": "1"}
USER = {"email": "ada@example.com", "password": "$argon2id$v=19$m=65536,t=3,p=4$a$a", "name": "Ada"}
CALL = {"phone_number": ANSWERED, "customer_name": "Ada", "workflow": "support"}
BATCH = {"action": "create", "tasks": [{"title": "one"}, {"title": "two"}]}
MADE = {
    "orders.place": ("orders", "user", ORDER),
    "tasks.create": ("tasks", "user", {"title": "one"}),
    "tasks.batch": ("tasks", "user", BATCH),
    "events.record": ("events", "user", EVENT),
    "calls.place": ("calls", "user", CALL),
    "users.create": ("users", "admin", USER),
    "users.register": ("users", None, USER),
}
"""By kind: the table of what it makes, who sends it, and its body."""

LONG_AGO = timedelta(days=91)


def send(road: Road, kind: str, people: dict[str, Person], key: str = "key", **fields: Any) -> UUID:
    """Send it with a key, and have it carried out."""
    _, sender, body = MADE[kind]
    owner = people[sender].id if sender else None
    job = keyed_id(road.settings.secret_key, owner or UUID(int=1), key)
    road.submit(kind, body | fields, id=job, owner=owner, fingerprint="f")
    road.work()
    return job


def forget(road: Road, execute: Execute, table: str) -> None:
    """Let all that was done have been done long ago, until nobody remembers the jobs of it."""
    execute("UPDATE receipts SET submitted_at = submitted_at - %s, finished_at = finished_at - %s", LONG_AGO, LONG_AGO)
    execute(f"UPDATE {table} SET created_at = created_at - %s", LONG_AGO)
    if table in ("orders", "calls"):
        execute(f"UPDATE {table} SET updated_at = updated_at - %s", LONG_AGO)
    road.submit("upkeep.prune", owner=None)
    road.work()
    for key in road.redis.scan_iter(keys.job("*")):
        road.redis.delete(key)


def rows(execute: Execute, table: str) -> list[Any]:
    found: list[Any] = execute(f"SELECT * FROM {table} ORDER BY id")
    return found


@pytest.mark.parametrize("kind", MADE)
def test_what_it_made_is_neither_made_again_nor_tried_again(
    phone: Road, carrier: Carrier, execute: Execute, people: dict[str, Person], kind: str
) -> None:
    table = MADE[kind][0]
    job = send(phone, kind, people)
    assert phone.status(job) is State.SUCCEEDED, phone.job(job)
    if table == "users":  # who has the email is refused for that
        execute("UPDATE users SET email = 'another@example.com' WHERE email = 'ada@example.com'")
    forget(phone, execute, table)
    assert phone.ledger.find(job) is None
    before = rows(execute, table)
    assert send(phone, kind, people) == job
    found = phone.job(job)
    assert (found["status"], found["attempts"]) == ("rejected", 1), found
    assert (found["error"]["code"], found["error"]["status"]) == ("idempotency_key_expired", 409)
    assert rows(execute, table) == before


def test_nobody_is_phoned_and_no_call_told_as_placed_where_the_key_is_used_for_another_number(
    phone: Road, carrier: Carrier, execute: Execute, people: dict[str, Person]
) -> None:
    send(phone, "calls.place", people)
    forget(phone, execute, "calls")
    job = send(phone, "calls.place", people, phone_number=BUSY)
    assert phone.code(job) == "idempotency_key_expired"
    assert [dial.to for dial in carrier.dials] == [ANSWERED]


def test_what_is_in_the_same_batch_is_carried_out(road: Road, execute: Execute, people: dict[str, Person]) -> None:
    old = send(road, "orders.place", people)
    forget(road, execute, "orders")
    road.submit("orders.place", ORDER, id=old, fingerprint="f")
    others = [road.order(f"c{number}") for number in range(7)]
    road.work()
    assert road.code(old) == "idempotency_key_expired"
    assert {road.status(job) for job in others} == {State.SUCCEEDED}


def test_a_key_makes_something_new_where_nothing_of_the_old_is_left(
    road: Road, execute: Execute, people: dict[str, Person]
) -> None:
    send(road, "orders.place", people)
    forget(road, execute, "orders")
    execute("DELETE FROM orders")
    assert road.status(send(road, "orders.place", people)) is State.SUCCEEDED


def test_a_key_is_good_as_long_as_its_receipt_is_there(road: Road, execute: Execute, people: dict[str, Person]) -> None:
    job = send(road, "orders.place", people)
    first = road.job(job)
    execute("UPDATE receipts SET submitted_at = now() - interval '89 days', finished_at = now() - interval '89 days'")
    road.submit("upkeep.prune", owner=None)
    road.work()
    road.redis.flushall()
    send(road, "orders.place", people)
    assert road.job(job)["result"] == first["result"]


def test_workers_with_the_same_job_tell_its_receipt(road: Road) -> None:
    """What they find there was made by another just now, not long ago."""
    jobs = [road.order(f"c{number}", fingerprint="f") for number in range(20)]
    deliveries = road.reserve()
    with ThreadPoolExecutor(3) as pool:
        settled = list(pool.map(road.execute, (deliveries, deliveries[::-1], deliveries)))
    states = {each.lease.id: each.verdict.state for settlements in settled for each in settlements}
    assert states == {str(job): State.SUCCEEDED for job in jobs}


def test_a_job_finds_taken_what_is_not_its_own_and_is_tried_again(
    road: Road, execute: Execute, people: dict[str, Person]
) -> None:
    execute("CREATE UNIQUE INDEX of_customers ON orders (customer_id)")
    try:
        execute(
            "INSERT INTO orders (id, owner_id, customer_id, services, total_fee, created_at, updated_at)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), %s, '{123}', 1, now(), now())",
            str(people["user"].id),
        )
        job = send(road, "orders.place", people)
    finally:
        execute("DROP INDEX of_customers")
    assert road.status(job) is State.SCHEDULED


def test_a_call_whose_job_only_redis_has_forgotten_is_gone_on_with(
    phone: Road, carrier: Carrier, people: dict[str, Person]
) -> None:
    job = send(phone, "calls.place", people, phone_number=LOST)
    assert phone.status(job) is State.SCHEDULED, "its answer was lost"
    phone.redis.flushall()
    again = send(phone, "calls.place", people, phone_number=LOST)
    assert (again, phone.status(job)) == (job, State.SUCCEEDED)
    assert len(carrier.dials) == 1


def test_a_call_that_has_waited_for_longer_than_receipts_are_kept_is_placed(
    phone: Road, carrier: Carrier, execute: Execute
) -> None:
    job = waiting(phone)
    execute("UPDATE calls SET created_at = created_at - %s, updated_at = updated_at - %s", LONG_AGO, LONG_AGO)
    at = phone.redis.hget(keys.job(str(job)), "created_at")
    long_ago = datetime.fromisoformat((at or b"").decode()) - LONG_AGO
    phone.redis.hset(keys.job(str(job)), "created_at", long_ago.isoformat().replace("+00:00", "Z"))
    phone.make_due(job)
    phone.work()
    assert phone.status(job) is State.SUCCEEDED, phone.job(job)
    assert len(carrier.dials) == 1
