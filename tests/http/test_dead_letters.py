"""Dead letters, for admins: listed, read without what is private, replayed, discarded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
import structlog
from flask import Flask
from redis import Redis

from api import job_control
from jobs.kernel import keys
from jobs.kernel.outcome import State
from local.postgres import Postgres
from tests.conftest import Person
from tests.failures import failed_order, unwritable, use_up
from tests.http.conftest import Client, statements
from tests.http.test_job_control import refused
from tests.road import Road

Execute = Callable[..., Any]
Letters = Callable[..., str]
LIST = "/v1/dead-letters"


def ids(client: Client, query: str = "") -> list[str]:
    answer = client.get(f"{LIST}{query}")
    assert answer.status_code == 200, answer.get_json()
    return [letter["id"] for letter in answer.get_json()["data"]]


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def spelled(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def test_a_failed_job_is_found_inspected_mended_replayed_and_succeeds(
    admin: Client, user: Client, road: Road, execute: Execute, people: dict[str, Person]
) -> None:
    body = {"services": ["123"], "total_fee": "100.00", "customer_id": "ada@example.com"}
    job = user.post("/v1/orders", body).get_json()["id"]
    with unwritable(execute):
        use_up(road, job)
    (listed,) = admin.get(f"{LIST}?kind=orders.place&code=job_failed").get_json()["data"]
    outcome = user.get(f"/v1/jobs/{job}").get_json()
    assert listed == {
        "id": job,
        "kind": "orders.place",
        "queue": "orders",
        "user_id": str(people["user"].id),
        "status": "failed",
        "error": outcome["error"],
        "run": 1,
        "attempts": 5,
        "submitted_at": outcome["submitted_at"],
        "run_at": None,
        "started_at": outcome["started_at"],
        "failed_at": outcome["finished_at"],
        "links": {"self": f"{LIST}/{job}", "job": f"/v1/jobs/{job}", "resource": f"/v1/orders/{job}"},
    }
    read = admin.get(listed["links"]["self"])
    assert read.get_json() == listed | {
        "payload": {"services": ["123"], "total_fee": "100.00", "customer_id": "[redacted]"}
    }
    assert "ada@" not in read.text
    answer = admin.post(f"{LIST}/{job}/replay")
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{job}")
    assert (answer.get_json()["status"], answer.get_json()["attempts"]) == ("queued", 0)
    assert admin.get(f"{LIST}/{job}").get_json()["status"] == "queued"
    assert [letter["status"] for letter in admin.get(LIST).get_json()["data"]] == ["queued"]
    road.work()
    assert ids(admin) == []
    assert refused(admin.get(f"{LIST}/{job}")) == (404, "not_found")
    assert user.get(f"/v1/orders/{job}").status_code == 200


def test_the_list_begins_with_what_failed_last_and_goes_on_page_by_page(admin: Client, letter_of: Letters) -> None:
    made = [letter_of("user", finished_at=ago(n), submitted_at=ago(-n)) for n in range(5)]
    assert ids(admin) == made
    assert admin.get(LIST).get_json()["meta"] == {"limit": 20, "next_cursor": None}
    seen, cursor = list[str](), ""
    while cursor is not None:
        answer = admin.get(f"{LIST}?limit=2{cursor and '&cursor='}{cursor}").get_json()
        seen += [letter["id"] for letter in answer["data"]]
        cursor = answer["meta"]["next_cursor"]
        letter_of("user")  # what comes meanwhile moves nothing
    assert seen == made


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [0, 1, 2]),
        ({"kind": "orders.place"}, [0, 2]),
        ({"kind": "no.such"}, []),
        ({"code": "worker_crashed"}, [1, 2]),
        ({"code": "worker_crashed", "kind": "orders.place"}, [2]),
        ({"failed_after": 1}, [0, 1]),
        ({"failed_before": 1}, [2]),
        ({"failed_after": 2, "failed_before": 0}, [1, 2]),
    ],
)
def test_the_list_is_filtered(admin: Client, letter_of: Letters, query: dict[str, Any], found: list[int]) -> None:
    crashed = orjson.dumps({"code": "worker_crashed"}).decode()
    times = [ago(100 * n) for n in range(3)]
    made = [
        letter_of("user", finished_at=times[0]),
        letter_of("user", finished_at=times[1], kind="tasks.create", error=crashed),
        letter_of("other", finished_at=times[2], error=crashed),
    ]
    asked = {name: spelled(times[value]) if name.startswith("failed") else value for name, value in query.items()}
    answer = admin("GET", LIST, query_string=asked)
    assert [letter["id"] for letter in answer.get_json()["data"]] == [made[at] for at in found]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?kind=Orders!", "kind"),
        ("?code=Not%20one", "code"),
        ("?failed_after=yesterday", "failed_after"),
        ("?failed_before=2026-01-01", "failed_before"),
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?cursor=none", "cursor"),
        ("?status=failed", "status"),
        ("?kind=a.b&kind=a.c", "kind"),
    ],
)
def test_a_question_that_is_none_is_refused(admin: Client, query: str, field: str) -> None:
    answer = admin.get(f"{LIST}{query}")
    assert refused(answer) == (422, "validation_failed")
    assert [error["field"] for error in answer.get_json()["errors"]] == [field]


def test_a_cursor_is_of_one_list_alone(admin: Client, letter_of: Letters) -> None:
    for n in range(2):
        letter_of("user", finished_at=ago(n))
    cursor = admin.get(f"{LIST}?limit=1").get_json()["meta"]["next_cursor"]
    assert admin.get(f"{LIST}?limit=1&cursor={cursor}").status_code == 200
    assert admin.get(f"{LIST}?limit=1&cursor={cursor}&kind=orders.place").status_code == 422


def test_only_what_has_failed_and_was_not_discarded_is_one(admin: Client, letter_of: Letters) -> None:
    others = [letter_of("user", state=state.value) for state in State if state.final and state is not State.FAILED]
    others.append(letter_of("user", discarded_at="now", envelope=None))
    assert ids(admin) == []
    for other in others:
        assert refused(admin.get(f"{LIST}/{other}")) == (404, "not_found")
        assert refused(admin.post(f"{LIST}/{other}/replay")) == (404, "not_found")
        assert refused(admin("DELETE", f"{LIST}/{other}")) == (404, "not_found")


def test_the_list_reads_no_envelopes_and_walks_its_index(
    app: Flask, admin: Client, letter_of: Letters, plans: Callable[[Client, str], list[str]], execute: Execute
) -> None:
    for n in range(3):
        letter_of("user", finished_at=ago(n))
    with statements(app) as sent:
        admin.get(LIST)
    assert not any("receipts.envelope" in statement or "receipts.result" in statement for statement, _ in sent)
    execute(
        "INSERT INTO receipts (id, kind, state, run, attempts, submitted_at, finished_at)"
        " SELECT gen_random_uuid(), 'orders.place', CASE WHEN mod(n, 100) = 0 THEN 'failed' ELSE 'succeeded' END, 1, 1,"
        " now(), now() - n * interval '1 second' FROM generate_series(1, 20000) AS n"
    )
    execute("ANALYZE receipts")
    found = plans(admin, f"{LIST}?limit=2")
    assert len(found) == 2
    for plan in found:
        assert "ix_receipts_dead" in plan
        assert "Sort" not in plan


def test_letters_of_nobody_are_there_too(admin: Client, letter_of: Letters) -> None:
    letter = letter_of("user", owner_id=None)
    assert admin.get(f"{LIST}/{letter}").get_json()["user_id"] is None
    assert admin("DELETE", f"{LIST}/{letter}").status_code == 202
    assert admin.post(f"{LIST}/{letter}/replay").status_code == 202


def test_of_a_kind_that_is_not_declared_here_the_types_alone_are_shown(admin: Client, letter_of: Letters) -> None:
    envelope = orjson.dumps({"kind": "orders.gone", "body": {"who": "Ada", "how_often": 3}}).decode()
    letter = letter_of("user", kind="orders.gone", envelope=envelope)
    shown = admin.get(f"{LIST}/{letter}").get_json()
    assert (shown["payload"], shown["queue"]) == ({"who": "string", "how_often": "number"}, "default")


def test_what_nothing_is_left_of_is_shown_so_and_cannot_be_replayed(admin: Client, letter_of: Letters) -> None:
    letter = letter_of("user", envelope=None)
    assert admin.get(f"{LIST}/{letter}").get_json()["payload"] is None
    assert refused(admin.post(f"{LIST}/{letter}/replay")) == (409, "job_not_rerunnable")


def test_fifty_replays_at_once_make_one_run(admin: Client, road: Road, execute: Execute) -> None:
    job = failed_order(road, execute)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: admin.post(f"{LIST}/{job}/replay"), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert road.work() == 1
    assert len(road.rows("SELECT FROM orders")) == 1


def test_a_replay_is_waited_for(admin: Client, road: Road, execute: Execute, worker: None) -> None:
    job = failed_order(road, execute)
    answer = admin.post(f"{LIST}/{job}/replay", headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.get_json()["status"]) == (200, "succeeded")


def test_a_replay_that_has_no_room_is_refused(
    make_app: Callable[..., Flask], signed_in: Callable[[Flask, str], Client], road: Road, execute: Execute
) -> None:
    job = failed_order(road, execute)
    road.order("two")
    admin = signed_in(make_app(max_queue_depth=1), "admin")
    assert refused(admin.post(f"{LIST}/{job}/replay")) == (503, "queue_full")


def test_many_are_replayed_by_a_filter(admin: Client, road: Road, letter_of: Letters) -> None:
    made = [letter_of("user", finished_at=ago(n)) for n in (3, 2, 1)]
    answer = admin.post(f"{LIST}/replay", {"kind": "orders.place", "failed_before": spelled(ago(1.5))})
    job = answer.get_json()
    assert (answer.status_code, job["kind"], job["status"]) == (202, "dead_letters.replay", "queued")
    road.work()
    done = admin.get(f"/v1/jobs/{job['id']}").get_json()
    assert done["result"] == {"replayed": 2, "under_way": 0, "skipped": 0, "left": 0}
    assert done["progress"] == {"done": 2, "total": 2}
    assert ids(admin) == made[2:]


def test_many_are_discarded_by_their_ids(admin: Client, user: Client, road: Road, letter_of: Letters) -> None:
    made = [letter_of("user", finished_at=ago(n)) for n in range(3)]
    job = admin.post(f"{LIST}/discard", {"ids": made[:2]}).get_json()
    road.work()
    assert admin.get(f"/v1/jobs/{job['id']}").get_json()["result"] == {"discarded": 2, "left": 0}
    assert ids(admin) == made[2:]
    assert user.get(f"/v1/jobs/{made[0]}").get_json()["status"] == "failed", "that it failed can still be found out"
    assert refused(user.post(f"/v1/jobs/{made[0]}/retry")) == (409, "job_not_rerunnable")


def test_one_is_discarded(admin: Client, road: Road, letter_of: Letters) -> None:
    made = [letter_of("user", finished_at=ago(n)) for n in range(2)]
    answer = admin("DELETE", f"{LIST}/{made[0]}")
    job = answer.get_json()
    assert (answer.status_code, job["kind"]) == (202, "dead_letters.discard_one")
    assert job["links"]["resource"] == f"{LIST}/{made[0]}"
    road.work()
    assert admin.get(f"/v1/jobs/{job['id']}").get_json()["status"] == "succeeded"
    assert refused(admin("DELETE", f"{LIST}/{made[0]}")) == (404, "not_found")
    assert ids(admin) == made[1:]


@pytest.mark.parametrize("action", ["replay", "discard"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"kind": None}, ""),
        ({"kind": "Orders"}, "kind"),
        ({"of_kind": "orders.place"}, "of_kind"),
        ({"code": "a b"}, "code"),
        ({"ids": []}, "ids"),
        ({"ids": ["one"]}, "ids.0"),
        ({"ids": [str(uuid4())] * 1001}, "ids"),
        ({"failed_after": "now"}, "failed_after"),
        ({"kind": "orders.place", "queue": "orders"}, "queue"),
    ],
)
def test_a_filter_that_is_none_is_refused(admin: Client, action: str, body: dict[str, Any], field: str) -> None:
    answer = admin.post(f"{LIST}/{action}", body)
    assert refused(answer) == (422, "validation_failed")
    assert field in [error["field"] for error in answer.get_json()["errors"]]


def test_the_same_key_and_filter_are_the_same_job(admin: Client, road: Road, letter_of: Letters) -> None:
    letter_of("user")
    key, body = {"Idempotency-Key": "once"}, {"kind": "orders.place"}
    jobs = [admin.post(f"{LIST}/replay", body, headers=key).get_json()["id"] for _ in range(2)]
    assert jobs[0] == jobs[1]
    other = admin.post(f"{LIST}/replay", {"kind": "tasks.create"}, headers=key)
    assert refused(other) == (422, "idempotency_key_reused")


def test_who_replayed_one_is_logged(
    admin: Client, people: dict[str, Person], letter_of: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_control, "log", structlog.get_logger())
    letter = letter_of("user")
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        for _ in range(2):
            admin.post(f"{LIST}/{letter}/replay")
    told = [(log["event"], log["job_id"], log["by"]) for log in logs if "by" in log]
    assert told == [("dead_letter_replayed", letter, str(people["admin"].id))]


def test_without_redis_they_are_read_as_postgresql_has_them(
    admin: Client, letter_of: Letters, redis_server: Any
) -> None:
    letter = letter_of("user")
    redis_server.kill()
    try:
        assert ids(admin) == [letter]
        assert admin.get(f"{LIST}/{letter}").get_json()["status"] == "failed"
        assert refused(admin.post(f"{LIST}/{letter}/replay")) == (503, "queue_unavailable")
    finally:
        redis_server.start()


def test_without_postgresql_none_is_told(admin: Client, letter_of: Letters, postgres: Postgres, redis: Redis) -> None:
    letter = letter_of("user")
    postgres.stop("immediate")
    try:
        for answer in (
            admin.get(LIST),
            admin.get(f"{LIST}/{letter}"),
            admin.post(f"{LIST}/{letter}/replay"),
            admin("DELETE", f"{LIST}/{letter}"),
        ):
            assert refused(answer) == (503, "database_unavailable")
        assert admin.post(f"{LIST}/replay", {"ids": [letter]}).status_code == 202, "it is looked for later"
    finally:
        postgres.start()
    assert redis.llen(keys.queue("orders")) == 0
