"""What goes wrong: handlers that raise, jobs that cannot be read, users who lost their right, a database away."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import closing
from typing import Any
from uuid import UUID

import orjson
import psycopg2
import pytest
from sqlalchemy import text

from jobs.kernel.envelope import FUNCTION
from jobs.kernel.outcome import State
from jobs.kernel.submit import new_id
from tests.conftest import Person
from tests.road import Road
from workers.settle import HandBack

Effects = Callable[[], dict[str, int]]


def test_a_handler_that_raises_is_tried_again_by_policy_and_then_fails(road: Road, effects: Effects) -> None:
    job_id = road.submit("test.probe", {"do": "raise"})
    for attempt in (1, 2, 3):
        road.work()
        assert road.job(job_id)["attempts"] == attempt
        assert road.status(job_id) is (State.SCHEDULED if attempt < 3 else State.FAILED)
        road.make_due(job_id)
    assert road.code(job_id) == "job_failed"
    assert "as asked" not in str(road.job(job_id)), "what a handler raises is for the log, not for clients"
    assert effects() == {}
    assert road.redis.zscore("rq:failed:default", str(job_id))


def test_a_lock_that_somebody_else_holds_uses_up_no_attempt(road: Road) -> None:
    hurried = road.with_settings(lease_seconds=2)
    task = hurried.submit("tasks.create", {"title": "One"})
    hurried.work()
    with road.sessions() as other:
        other.connection().exec_driver_sql("SELECT FROM tasks WHERE id = %s FOR UPDATE", (str(task),))
        job_id = hurried.submit("tasks.amend", {"title": "Two"}, target=task)
        for _ in range(2):
            hurried.work()
            assert (hurried.status(job_id), hurried.job(job_id)["attempts"]) == (State.SCHEDULED, 0)
            hurried.make_due(job_id)
    hurried.work()
    assert hurried.job(job_id)["result"]["title"] == "Two"
    hurried.close()


def test_a_retry_does_not_move_the_effective_moment(road: Road) -> None:
    job_id = road.submit("test.probe", {"do": "raise once"})
    road.work()
    road.make_due(job_id)
    (delivery,) = road.reserve()
    assert delivery.moment == delivery.submitted_at
    assert delivery.attempt == 2


def test_one_poisoned_command_spoils_no_other(road: Road, effects: Effects) -> None:
    good = [road.submit("test.many") for _ in range(15)]
    bad = road.submit("test.many", {"poison": True})
    good += [road.submit("test.many") for _ in range(15)]
    road.work()
    assert {road.status(job_id) for job_id in good} == {State.SUCCEEDED}
    assert road.status(bad) is State.SCHEDULED
    assert effects() == dict.fromkeys(map(str, good), 1)


def test_a_refusal_takes_back_what_its_handler_wrote_and_nothing_else(road: Road, effects: Effects) -> None:
    refused, fine = road.submit("test.probe", {"do": "reject"}), road.submit("test.probe")
    road.work()
    assert (road.status(refused), road.code(refused)) == (State.REJECTED, "asked_for")
    assert effects() == {str(fine): 1}


def test_a_handler_may_end_as_canceled(road: Road, effects: Effects) -> None:
    job_id = road.submit("test.probe", {"do": "cancel"})
    road.work()
    assert road.status(job_id) is State.CANCELED
    assert effects() == {}


def test_a_snooze_uses_up_no_attempt(road: Road, effects: Effects) -> None:
    job_id = road.submit("test.probe", {"do": "snooze"})
    road.work()
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (State.SCHEDULED, 0)
    assert road.rows("SELECT id FROM receipts") == []
    road.make_due(job_id)
    road.work()
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (State.SUCCEEDED, 1)
    assert effects() == {str(job_id): 1}


@pytest.mark.parametrize("loss", ["role = 'user'", "disabled_at = now()", "deleted_at = now()"])
def test_who_lost_the_right_since_is_refused_by_the_worker(
    road: Road, people: dict[str, Person], execute: Callable[..., Any], effects: Effects, loss: str
) -> None:
    from dataclasses import replace

    from jobs.kernel.policy import Access
    from tests.probes import Probe

    before, Probe.policy = Probe.policy, replace(Probe.policy, access=Access.ADMIN)
    try:
        job_id = road.submit("test.probe", owner=people["admin"].id)
        execute(f"UPDATE users SET {loss} WHERE id = %s::uuid", str(people["admin"].id))
        road.work()
    finally:
        Probe.policy = before
    assert (road.status(job_id), road.code(job_id)) == (State.REJECTED, "forbidden")
    assert effects() == {}


FOREIGN = {
    "a pickle": pickle.dumps(("os.system", None, ("true",), {})),
    "os.system in JSON": orjson.dumps(["os.system", None, ["touch /tmp/owned"], {}]),
    "a job of ours under another function's name": orjson.dumps(["os.system", None, [{"kind": "test.probe"}], {}]),
    "a job of ours with more arguments": orjson.dumps([FUNCTION, None, [{"kind": "test.probe"}], {"shell": True}]),
    "no JSON": b"\x00\xff{",
    "nothing": b"",
    "another form": orjson.dumps({"kind": "test.probe"}),
    "an instance": orjson.dumps([FUNCTION, "x", [{}], {}]),
    "a body that does not fit": orjson.dumps([FUNCTION, None, [{"kind": "test.probe", "body": {"do": 5}}], {}]),
    "a target that is none": orjson.dumps([FUNCTION, None, [{"kind": "test.probe", "body": {}, "target": "x"}], {}]),
    "an unknown kind": orjson.dumps([FUNCTION, None, [{"kind": "no.such"}], {}]),
    "a kind that PostgreSQL cannot store": orjson.dumps([FUNCTION, None, [{"kind": "a\x00b"}], {}]),
    "a kind that is no text": orjson.dumps([FUNCTION, None, [{"kind": ["x"]}], {}]),
    "a broken zlib stream": b"\x78\x9c\x00\x00",
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_what_is_not_ours_is_a_dead_letter_and_never_run(
    road: Road, effects: Effects, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    ran: list[object] = []
    monkeypatch.setattr("os.system", ran.append)
    job_id, fine = road.submit("test.probe"), road.submit("test.probe")
    road.redis.hset(f"rq:job:{job_id}", "data", data)
    road.work()
    assert road.status(job_id) is State.FAILED
    assert road.code(job_id) in {"job_unreadable", "job_foreign", "kind_unknown"}
    assert road.status(fine) is State.SUCCEEDED
    assert ran == []
    assert effects() == {str(fine): 1}


def test_a_job_of_somebody_elses_making_is_a_dead_letter_too(road: Road) -> None:
    road.redis.hset(
        "rq:job:by-hand", mapping={"data": orjson.dumps(["os.system", None, ["true"], {}]), "status": "queued"}
    )
    road.redis.rpush("rq:queue:default", "by-hand")
    assert road.work() == 1
    assert [row.state for row in road.rows("SELECT state FROM receipts")] == ["failed"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", "nobody"),
        ("created_at", "then"),
        ("moment", "x"),
        ("due", "x"),
        ("moment", "9" * 40),
        ("run", "x"),
        ("fingerprint", b"\xff"),
    ],
)
def test_a_field_that_cannot_be_read_kills_no_worker(road: Road, field: str, value: str | bytes) -> None:
    broken, fine = road.submit("test.probe"), road.submit("test.probe")
    road.redis.hset(f"rq:job:{broken}", mapping={"attempts": 0, field: value})
    assert [record.id for record in road.ledger.page(road.owner)][-1] in {broken, fine}
    road.work()
    assert road.status(fine) is State.SUCCEEDED
    assert road.code(broken) == (None if field == "run" else "job_unreadable")
    road.redis.delete(f"rq:job:{broken}")
    assert road.status(broken).final


def test_an_id_that_is_none_is_passed_over(road: Road) -> None:
    for member in (b"\xff\xfe", "a b", "../x", ""):
        road.redis.rpush("rq:queue:default", member)
    fine = road.submit("test.probe")
    assert road.work() == 1
    assert road.status(fine) is State.SUCCEEDED


def test_an_error_in_a_job_names_the_request_that_sent_it(road: Road) -> None:
    job_id = road.submit("test.probe", {"do": "reject"}, request_id="req-1")
    road.work()
    shown = road.job(job_id)["error"]
    assert shown["request_id"] == "req-1"
    road.redis.flushall()
    assert road.job(job_id)["error"] == shown


def test_a_key_of_another_type_is_set_aside_and_its_job_fails(road: Road) -> None:
    job_id, fine = road.submit("test.probe"), road.submit("test.probe")
    road.redis.delete(f"rq:job:{job_id}")
    road.redis.set(f"rq:job:{job_id}", "broken")
    road.work()
    assert road.code(job_id) == "job_unreadable"
    assert road.status(fine) is State.SUCCEEDED
    assert road.redis.get(f"millrace:corrupt:{job_id}") == b"broken"


def test_an_id_without_a_hash_is_passed_over(road: Road) -> None:
    road.redis.rpush("rq:queue:default", str(new_id()))
    fine = road.submit("test.probe")
    assert road.work() == 1
    assert road.status(fine) is State.SUCCEEDED


def test_without_a_database_jobs_go_back_and_nothing_is_counted(road: Road, effects: Effects) -> None:
    ids = [road.submit("test.probe") for _ in range(3)]
    away = road.with_settings(write_database_url="postgresql://millrace@127.0.0.1:1/none")
    settlements = away.execute(road.reserve())
    assert all(isinstance(settlement.verdict, HandBack) for settlement in settlements)
    road.leases.settle(settlements)
    assert [road.job(job_id)["attempts"] for job_id in ids] == [0, 0, 0]
    assert [UUID(member.decode()) for member in road.redis.lrange("rq:queue:default", 0, -1)] == ids
    road.work()
    assert effects() == dict.fromkeys(map(str, ids), 1)


@pytest.mark.parametrize(("lease_seconds", "gone"), [(2, False), (1, True)])
def test_a_session_that_idles_past_its_limit_counts_as_the_database_being_away(
    road: Road, lease_seconds: int, gone: bool
) -> None:
    road.submit("test.probe", {"do": "sleep"})  # for a second, in an open transaction; the limit is 0.6 of the lease
    (settlement,) = road.with_settings(lease_seconds=lease_seconds).execute(road.reserve())
    assert isinstance(settlement.verdict, HandBack) is gone


def test_a_connection_that_ended_while_there_was_nothing_to_do_is_replaced_and_no_job_goes_back(road: Road) -> None:
    with road.sessions() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
    with closing(psycopg2.connect(road.settings.write_database_url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    job = road.submit("test.probe")
    assert (road.work(), road.status(job)) == (1, State.SUCCEEDED)
