"""Many writes in one request: each line is a write of its own, and has an outcome of its own (CONTRACT.md §2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from redis import Redis

from api.bulk_lines import can_be_sent
from jobs.kernel import keys, registry
from jobs.kernel.envelope import load
from tests.conftest import PASSWORD, Person
from tests.events import EVENT
from tests.http.bulks import Line, bulk, fields, ids, place, post, refusal, statuses, told
from tests.http.conftest import CALL, ORDER, Client, statements
from tests.road import Road

Signed = Callable[[Flask, str], Client]
People = dict[str, Person]
NEW = {"email": "new@example.com", "password": PASSWORD, "name": "New"}
BODIES: dict[str, Any] = {
    "calls.place": CALL,
    "calls.cancel": {"status": "canceled"},
    "events.record": EVENT,
    "orders.place": ORDER,
    "orders.replace": ORDER,
    "orders.amend": {"total_fee": 1},
    "orders.delete": None,
    "tasks.create": {"title": "One"},
    "tasks.amend": {"title": "Another"},
    "tasks.batch": {"action": "create", "tasks": [{"title": "One"}]},
    "tasks.delete": None,
    "users.amend": {"name": "Another"},
    "users.create": NEW,
    "users.delete": None,
}
"""A body of every kind that is sent in bulk; those of dead letters are for admins alone."""


@pytest.fixture
def target_of(
    order_of: Callable[[str], str], call_of: Callable[..., str], task_of: Callable[..., str], people: People
) -> Callable[[str, str], str | None]:
    """Something of somebody's that a kind may be about."""

    def make(kind: str, who: str) -> str | None:
        command = registry.find(kind)
        assert command is not None
        if command.target is None:
            return None
        found = {"orders": order_of, "calls": call_of, "tasks": task_of, "users": lambda name: str(people[name].id)}
        return found[kind.partition(".")[0]](who)

    return make


def line_of(kind: str, target: str | None = None, **more: Any) -> Line:
    given = {"kind": kind, "body": BODIES[kind], "target": target} | more
    return {name: value for name, value in given.items() if value is not None}


def data_of(redis: Redis, job_id: str) -> dict[str, Any]:
    """The envelope of a job that waits."""
    data = redis.hget(keys.job(job_id), "data")
    assert data is not None
    return load(data)


def test_a_line_is_accepted_as_a_job(user: Client) -> None:
    answer = post(user, [place()])
    (outcome,) = told(answer)
    job_id = outcome["job"]["id"]
    path = f"/v1/jobs/{job_id}"
    links = {"self": path, "events": f"{path}/events", "resource": f"/v1/orders/{job_id}"}
    assert outcome == {"status": 202, "job": {"id": job_id, "kind": "orders.place", "status": "queued", "links": links}}
    assert user.get(path).get_json().items() >= outcome["job"].items()
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_thousand_lines_are_a_thousand_jobs_in_their_order(user: Client, redis: Redis, road: Road) -> None:
    jobs = ids(bulk(user, [place(f"customer-{number}") for number in range(1000)]))
    assert [name.decode() for name in redis.lrange(keys.queue("orders"), 0, -1)] == jobs
    assert [data_of(redis, job)["body"]["customer_id"] for job in jobs] == [f"customer-{n}" for n in range(1000)]
    road.work(500)
    assert {road.job(UUID(job))["status"] for job in jobs[::50]} == {"succeeded"}
    assert road.rows("SELECT count(*) FROM orders") == [(1000,)]


@pytest.mark.parametrize(
    ("lines", "ending"), [(1001, b""), (1001, b"\n"), (5000, b"\n")], ids=["one too many", "ended", "many"]
)
def test_more_than_a_thousand_lines_are_refused_and_none_is_taken(
    user: Client, redis: Redis, lines: int, ending: bytes
) -> None:
    answer = user.raw(b"\n".join([b"{}"] * lines) + ending, "/v1/bulk", content_type="application/x-ndjson")
    assert (answer.status_code, answer.get_json()["code"]) == (413, "too_many_lines")
    good = post(user, [place()] * 1001)
    assert (good.status_code, redis.llen(keys.queue("orders"))) == (413, 0)


def test_bad_lines_spoil_no_others_and_are_told_in_their_places(user: Client, order_of: Callable[[str], str]) -> None:
    lines = [
        place("one"),
        b"{",
        place("two", run_at="soon"),
        {"kind": "orders.delete", "target": order_of("user")},
        {"kind": "orders.delete", "target": order_of("other")},
        {"kind": "nothing.at_all"},
        {"kind": "users.create", "body": NEW},
        place("three", body=ORDER | {"services": []}),
        place("four"),
    ]
    outcomes = bulk(user, lines)
    assert statuses(outcomes) == [202, 400, 422, 202, 404, 422, 403, 422, 202]
    assert refusal(outcomes[1]) == (400, "malformed_json")
    assert fields(outcomes[2]) == ["run_at"]
    assert refusal(outcomes[4]) == (404, "not_found")
    assert refusal(outcomes[5]) == (422, "unknown_kind")
    assert refusal(outcomes[6]) == (403, "forbidden")
    assert fields(outcomes[7]) == ["body.services"]


@pytest.mark.parametrize("size", [1, 99, 100, 101, 250])
def test_bad_lines_keep_their_places_however_many_are_sent_together(user: Client, redis: Redis, size: int) -> None:
    lines = [b"{" if number % 3 == 1 else place(str(number)) for number in range(size)]
    outcomes = bulk(user, lines)
    assert statuses(outcomes) == [400 if number % 3 == 1 else 202 for number in range(size)]
    for number, outcome in enumerate(outcomes):
        if outcome["status"] == 202:
            assert data_of(redis, outcome["job"]["id"])["body"]["customer_id"] == str(number)


def test_every_kind_that_users_may_ask_for_can_stand_in_a_line() -> None:
    sent = {command.kind for command in registry.every() if can_be_sent(command)}
    assert sent - BODIES.keys() == {"dead_letters.replay", "dead_letters.discard", "dead_letters.discard_one"}
    assert sent >= BODIES.keys()


@pytest.mark.parametrize("kind", BODIES)
def test_a_line_is_the_same_request_as_a_single_write(
    admin: Client, target_of: Callable[[str, str], str | None], kind: str
) -> None:
    """What was sent as the one is a repeat when it is sent, with the same key, as the other."""
    command = registry.find(kind)
    assert command is not None
    assert command.route is not None
    target, due = target_of(kind, "user"), (datetime.now(UTC) + timedelta(days=1)).isoformat()
    path = command.route.path.replace("{id}", str(target))
    more = {"if_match": '"v1", W/"v2"'} if target else {}
    asked = {"json": BODIES[kind]} if BODIES[kind] is not None else {}
    for first, then in (("line", "single"), ("single", "line")):
        seen = []
        for way in (first, then):
            if way == "line":
                (outcome,) = bulk(admin, [line_of(kind, target, idempotency_key=first, run_at=due, **more)])
                seen.append((outcome["job"]["id"], "replayed" in outcome))
            else:
                headers = {"Idempotency-Key": first} | ({"If-Match": more["if_match"]} if more else {})
                query = {"run_at": due}
                answer = admin(command.route.method, path, headers=headers, query_string=query, **asked)
                assert answer.status_code == 202, answer.text
                seen.append((answer.get_json()["id"], "Idempotency-Replayed" in answer.headers))
        assert seen == [(seen[0][0], False), (seen[0][0], True)]


@pytest.mark.parametrize(
    "kind", ["nothing.at_all", "", "orders", "users.register", "users.import", "events.deliver", "calls.reconcile"]
)
def test_a_kind_that_nobody_may_send_so_is_unknown(user: Client, admin: Client, kind: str) -> None:
    for client in (user, admin):
        (outcome,) = bulk(client, [{"kind": kind, "body": NEW}])
        assert refusal(outcome) == (422, "unknown_kind")
        assert [error["field"] for error in outcome["error"]["errors"]] == ["kind"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("users.create", NEW),
        ("users.amend", {"role": "admin"}),
        ("tasks.create", {"title": "One", "user_id": "0198c2d4-1b0a-7e55-8f4e-5a6b7c8d9e0f"}),
    ],
)
def test_a_line_takes_the_right_that_a_single_write_takes(
    user: Client, admin: Client, people: People, kind: str, body: dict[str, Any]
) -> None:
    target = {"target": str(people["user"].id)} if kind == "users.amend" else {}
    asked = [{"kind": kind, "body": body, **target}]
    assert refusal(bulk(user, asked)[0]) == (403, "forbidden")
    assert statuses(bulk(admin, asked)) == [202]


@pytest.mark.parametrize("kind", [kind for kind in BODIES if kind.endswith(("amend", "cancel", "delete", "replace"))])
def test_a_strangers_target_looks_like_none(
    user: Client, admin: Client, target_of: Callable[[str, str], str | None], kind: str
) -> None:
    foreign = target_of(kind, "other")
    targets = [foreign, str(uuid4()), "nonsense", target_of(kind, "user")]
    outcomes = bulk(user, [line_of(kind, target) for target in targets])
    assert statuses(outcomes) == [404, 404, 404, 202]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    keyed = bulk(user, [line_of(kind, target, idempotency_key="k") for target in targets[:1]])
    assert keyed[0]["error"] | {"request_id": None} == outcomes[0]["error"] | {"request_id": None}
    assert statuses(bulk(admin, [line_of(kind, foreign)])) == [202]


def test_all_lines_that_are_sent_together_are_looked_up_together(
    app: Flask, user: Client, order_of: Callable[[str], str], task_of: Callable[..., str]
) -> None:
    orders, tasks = [order_of("user") for _ in range(50)], [task_of("user") for _ in range(50)]
    lines = [line_of("orders.delete", order, idempotency_key=f"a-{order}") for order in orders]
    lines += [line_of("tasks.delete", task, idempotency_key=f"b-{task}") for task in tasks]
    with statements(app) as sent:
        assert statuses(bulk(user, lines)) == [202] * 100
    assert len(sent) == 3, "orders, tasks, receipts"


def test_run_at_and_priority_are_asked_for_by_each_line(user: Client, redis: Redis) -> None:
    due = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    lines = [place(priority=name) for name in ("high", "low", "normal")]
    lines += [place(run_at=f"{due}Z"), place(run_at="2020-01-01T00:00:00Z"), place(run_at=f"{due}+00:00")]
    outcomes = bulk(user, lines)
    assert [one["job"]["status"] for one in outcomes] == ["queued"] * 3 + ["scheduled", "queued", "scheduled"]
    assert [redis.llen(name) for name in keys.lanes("orders")] == [1, 2, 1]
    job = user.get(outcomes[3]["job"]["links"]["self"]).get_json()
    assert (job["status"], job["run_at"]) == ("scheduled", f"{due}.000000Z")


@pytest.mark.parametrize(
    ("sent", "travels"), [(None, None), ("*", ["*"]), ('"v1", W/"v2"', ["v1"]), ('W/"v1"', []), ("", [])]
)
def test_if_match_travels_with_the_job(
    user: Client, redis: Redis, order_of: Callable[[str], str], sent: str | None, travels: list[str] | None
) -> None:
    more = {} if sent is None else {"if_match": sent}
    (job,) = ids(bulk(user, [line_of("orders.amend", order_of("user"), **more)]))
    assert data_of(redis, job).get("if_match") == travels


def test_the_request_id_is_that_of_all_lines(user: Client, redis: Redis) -> None:
    good, bad = bulk(user, [place(), {"kind": "no.such"}], headers={"X-Request-ID": "mine-1"})
    assert bad["error"]["request_id"] == "mine-1"
    assert data_of(redis, good["job"]["id"])["request_id"] == "mine-1"


def test_a_password_is_hashed_before_anything_is_queued(admin: Client, redis: Redis) -> None:
    (job,) = ids(bulk(admin, [line_of("users.create")]))
    assert data_of(redis, job)["body"]["password"].startswith("$argon2id$")


def test_several_bulks_at_once_are_kept_apart(app: Flask, signed_in: Signed, redis: Redis) -> None:
    def send(number: int) -> list[str]:
        return ids(bulk(signed_in(app, "user"), [place(f"{number}-{line}") for line in range(120)]))

    with ThreadPoolExecutor(8) as threads:
        bulks = list(threads.map(send, range(8)))
    for number, jobs in enumerate(bulks):
        found = [data_of(redis, job)["body"]["customer_id"] for job in jobs]
        assert found == [f"{number}-{line}" for line in range(120)]
    assert redis.llen(keys.queue("orders")) == 8 * 120


def test_an_answer_is_one_json_object_a_line(user: Client) -> None:
    answer = post(user, [place("line\nbreak"), place("\u2028")])
    assert len(answer.data.split(b"\n")) == 3
    assert [json.loads(line)["status"] for line in answer.data.splitlines()] == [422, 202]
