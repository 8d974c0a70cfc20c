"""Dead letters replayed and discarded in numbers, by the real executor on real PostgreSQL and Redis."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
import structlog

from jobs import dead_letters as kinds
from jobs.kernel import keys
from jobs.kernel.outcome import State
from jobs.kernel.rerun import Rerun
from jobs.kernel.submit import new_id
from models import letter_store
from models.letter_store import Which
from models.views import instant
from tests.conftest import Person
from tests.road import Road
from workers.work import opened

Execute = Callable[..., Any]
AGES = (300, 200, 100)


@pytest.fixture
def letters(execute: Execute, people: dict[str, Person]) -> Callable[..., list[UUID]]:
    """Put receipts of failed orders into the table, that failed so many seconds ago; their ids. `more`: columns."""

    def make(*ages: int, **more: Any) -> list[UUID]:
        ids = [new_id() for _ in ages]
        body = {"services": ["123"], "total_fee": "1.00"}
        for job_id, age in zip(ids, ages, strict=True):
            envelope = {"kind": "orders.place", "body": body | {"customer_id": job_id.hex}}
            failed_at = datetime.now(UTC) - timedelta(seconds=age)
            row = {
                "id": str(job_id),
                "owner_id": str(people["user"].id),
                "kind": "orders.place",
                "state": "failed",
                "run": 1,
                "attempts": 5,
                "submitted_at": failed_at,
                "finished_at": failed_at,
                "error": orjson.dumps({"code": "job_failed"}).decode(),
                "envelope": orjson.dumps(envelope).decode(),
            }
            row |= more
            places = ", ".join(["%s"] * len(row))
            execute(f"INSERT INTO receipts ({', '.join(row)}) VALUES ({places})", *row.values())
        return ids

    return make


@pytest.fixture
def admin(people: dict[str, Person]) -> UUID:
    return people["admin"].id


def run(road: Road, kind: str, sender: UUID | None, /, **body: Any) -> dict[str, Any]:
    """A job about dead letters, carried out alone; what it tells."""
    job_id = road.submit(f"dead_letters.{kind}", body, owner=sender)
    (delivery,) = road.leases.reserve(["deliveries"], 1)
    road.leases.settle(road.execute([delivery]))
    return road.job(job_id)


def states(road: Road) -> dict[UUID, str]:
    return {row.id: row.state for row in road.rows("SELECT id, state FROM receipts WHERE kind = 'orders.place'")}


def test_all_that_fit_are_run_again_oldest_first(road: Road, letters: Any, admin: UUID) -> None:
    ids = letters(*AGES)
    job = run(road, "replay", admin, kind="orders.place")
    assert job["result"] == {"replayed": 3, "under_way": 0, "skipped": 0, "left": 0}
    assert job["progress"] == {"done": 3, "total": 3}
    assert road.redis.lrange(keys.queue("orders"), 0, -1) == [str(job_id).encode() for job_id in ids]
    road.work()
    assert states(road) == dict.fromkeys(ids, "succeeded")
    assert len(road.rows("SELECT FROM orders")) == 3
    assert run(road, "replay", admin, kind="orders.place")["result"]["replayed"] == 0


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"kind": "orders.place"}, {0, 1, 2}),
        ({"kind": "orders.gone"}, set()),
        ({"code": "job_failed"}, {0, 1, 2}),
        ({"code": "worker_crashed"}, {3}),
        ({"failed_after": 200}, {1, 2}),
        ({"failed_before": 200}, {0, 3}),
        ({"failed_after": 300, "failed_before": 100}, {0, 1}),
        ({"kind": "orders.place", "failed_before": 200, "code": "job_failed"}, {0}),
        ({"ids": [1, 3]}, {1, 3}),
        ({"ids": [1, 3], "kind": "orders.place"}, {1}),
    ],
)
@pytest.mark.parametrize("kind", ["replay", "discard"])
def test_only_what_fits_all_that_is_given_is_met(
    road: Road, letters: Any, admin: UUID, body: dict[str, Any], found: set[int], kind: str
) -> None:
    ids = letters(*AGES)
    ids += letters(400, kind="orders.amend", error='{"code": "worker_crashed"}')
    times = {row.id: row.finished_at for row in road.rows("SELECT id, finished_at FROM receipts")}
    of_age = dict(zip(AGES, (instant(times[job_id]) for job_id in ids), strict=False))
    given = body | {name: of_age[age] for name, age in body.items() if name.startswith("failed")}
    given |= {"ids": [str(ids[at]) for at in body["ids"]]} if "ids" in body else {}
    result = run(road, kind, admin, **given)["result"]
    met = {at for at, job_id in enumerate(ids) if touched(road, job_id)}
    assert met == found
    assert result["replayed" if kind == "replay" else "discarded"] == len(found)


def touched(road: Road, job_id: UUID) -> bool:
    discarded = road.rows(f"SELECT FROM receipts WHERE id = '{job_id}' AND discarded_at IS NOT NULL")
    return bool(discarded) or road.redis.exists(keys.job(job_id)) == 1


def test_what_is_under_way_and_what_nothing_is_left_of_is_told_apart(
    road: Road, letters: Any, admin: UUID, execute: Execute
) -> None:
    ids, (lost,) = letters(*AGES), letters(50, envelope=None)
    assert road.rerun(ids[0]) == [Rerun.NEW]
    body = {"ids": [str(job_id) for job_id in (*ids, lost, new_id())]}
    assert run(road, "replay", admin, **body)["result"] == {"replayed": 2, "under_way": 1, "skipped": 2, "left": 0}


def test_what_fails_again_meanwhile_is_not_run_a_second_time(
    road: Road, letters: Any, admin: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are as fast as whoever replays: each has failed again before the next page is read."""
    ids = letters(*AGES, envelope='{"kind": "orders.gone"}')
    monkeypatch.setattr(kinds, "PAGE", 1)
    rerun = kinds._rerun

    def and_fail(outside: Any, page: Any) -> list[str]:
        words = rerun(outside, page)
        road.leases.settle(road.execute(road.leases.reserve(["orders", "default"], 100)))
        return words

    monkeypatch.setattr(kinds, "_rerun", and_fail)
    result = run(road, "replay", admin, failed_after="2026-01-01T00:00:00Z")["result"]
    assert result == {"replayed": 3, "under_way": 0, "skipped": 0, "left": 0}
    rows = road.rows("SELECT id, state, run FROM receipts WHERE kind = 'orders.gone'")
    assert sorted((row.id, row.state, row.run) for row in rows) == sorted((job_id, "failed", 2) for job_id in ids)


def test_a_worker_that_dies_on_the_way_leaves_it_to_the_next_and_none_is_run_twice(
    road: Road, letters: Any, admin: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = letters(*AGES)
    monkeypatch.setattr(kinds, "PAGE", 1)
    job_id = road.submit("dead_letters.replay", {"kind": "orders.place"}, owner=admin)
    (delivery,) = road.leases.reserve(["deliveries"], 1)
    turns = iter([True, True])
    settlements = road.conduct(opened(delivery), lambda: next(turns, False))
    road.leases.settle(settlements)
    assert road.redis.llen(keys.queue("orders")) == 2
    assert road.status(job_id) is State.QUEUED
    road.leases.settle(road.execute(road.leases.reserve(["deliveries"], 1)))
    assert road.job(job_id)["result"] == {"replayed": 1, "under_way": 2, "skipped": 0, "left": 0}
    road.work()
    assert states(road) == dict.fromkeys(ids, "succeeded")
    assert {row.run for row in road.rows("SELECT run FROM receipts WHERE kind = 'orders.place'")} == {2}


def test_what_has_no_room_is_left_and_said_so(road: Road, letters: Any, admin: UUID) -> None:
    letters(*AGES)
    narrow = road.with_settings(max_queue_depth=2)
    for replayed, left in ((2, 1), (1, 0)):
        result = run(narrow, "replay", admin, kind="orders.place")["result"]
        assert (result["replayed"], result["left"]) == (replayed, left)
        narrow.work()
    narrow.close()


@pytest.mark.parametrize(("kind", "word"), [("replay", "replayed"), ("discard", "discarded")])
def test_one_job_goes_no_further_than_its_time_lasts(
    road: Road, letters: Any, admin: UUID, monkeypatch: pytest.MonkeyPatch, kind: str, word: str
) -> None:
    letters(*AGES)
    monkeypatch.setattr(kinds, "PAGE", 2)
    monkeypatch.setattr(kinds, "WITHIN", -1)
    job = run(road, kind, admin, kind="orders.place")
    assert (job["result"][word], job["result"]["left"], job["progress"]) == (2, 1, {"done": 2, "total": 3})
    job = run(road, kind, admin, kind="orders.place")
    assert job["result"][word] == 1


@pytest.mark.parametrize("kind", ["replay", "discard"])
def test_whoever_is_asked_to_stop_does_and_what_was_done_stays_done(
    road: Road, letters: Any, admin: UUID, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    ids = letters(*AGES)
    monkeypatch.setattr(kinds, "PAGE", 1)
    monkeypatch.setattr("workers.progress.EVERY", 0)
    job_id = road.submit(f"dead_letters.{kind}", {"kind": "orders.place"}, owner=admin)
    (delivery,) = road.leases.reserve(["deliveries"], 1)
    asked = iter([None, None, lambda: road.cancel(job_id)])

    def ours() -> bool:
        if act := next(asked, None):
            act()
        return True

    road.leases.settle(road.conduct(opened(delivery), ours))
    job = road.job(job_id)
    assert (job["status"], job["result"]["left"], job["progress"]) == ("succeeded", 1, {"done": 2, "total": 3})
    assert [touched(road, each) for each in ids] == [True, True, False]


@pytest.mark.parametrize("kind", ["replay", "discard"])
def test_whoever_is_asked_to_stop_before_anything_was_done_is_canceled(
    road: Road, letters: Any, admin: UUID, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    ids = letters(*AGES)
    job_id = road.submit(f"dead_letters.{kind}", {"kind": "orders.place"}, owner=admin)
    (delivery,) = road.leases.reserve(["deliveries"], 1)
    road.cancel(job_id)
    road.leases.settle(road.conduct(opened(delivery), lambda: True))
    assert road.status(job_id) is State.CANCELED
    assert not any(touched(road, each) for each in ids)


def test_one_queue_that_is_full_keeps_no_other_from_running_again(road: Road, letters: Any, admin: UUID) -> None:
    letters(*AGES)
    gone = letters(*AGES, kind="orders.gone", envelope='{"kind": "orders.gone"}')
    narrow = road.with_settings(max_queue_depth=3)
    for customer in "abc":
        narrow.order(customer)
    result = run(narrow, "replay", admin, failed_after="2026-01-01T00:00:00Z")["result"]
    assert (result["replayed"], result["left"]) == (len(gone), len(AGES))
    narrow.close()


def test_what_is_discarded_is_no_dead_letter_and_its_outcome_can_be_found_all_the_same(
    road: Road, letters: Any, admin: UUID
) -> None:
    ids = letters(*AGES)
    before = [road.job(job_id) for job_id in ids]
    job = run(road, "discard", admin, ids=[str(job_id) for job_id in ids[:2]])
    assert job["result"] == {"discarded": 2, "left": 0}
    assert [letter.id for letter in road.dead_letters.page(Which())] == ids[2:]
    assert [road.job(job_id) for job_id in ids] == before
    assert {row.envelope for row in road.rows("SELECT envelope FROM receipts WHERE discarded_at IS NOT NULL")} == {None}
    assert not road.letter(ids[0]).can_rerun
    assert run(road, "replay", admin, kind="orders.place")["result"]["replayed"] == 1


def test_what_is_discarded_while_it_runs_again_can_fail_again_and_is_a_dead_letter_then(
    road: Road, letters: Any, admin: UUID
) -> None:
    (job_id,) = letters(1, envelope='{"kind": "orders.gone"}')
    road.rerun(job_id)
    run(road, "discard", admin, kind="orders.place")
    assert road.dead_letters.page(Which()) == []
    road.work()
    (found,) = road.dead_letters.page(Which())
    assert (found.id, found.run, found.discarded_at) == (job_id, 2, None)


def test_one_is_discarded_by_its_id_once(road: Road, letters: Any, admin: UUID) -> None:
    ids = letters(*AGES)
    for code in (None, "not_found"):
        job = discard_one(road, admin, ids[0])
        assert (job["error"] and job["error"]["code"]) == code
    assert [letter.id for letter in road.dead_letters.page(Which())] == [ids[2], ids[1]]
    tagged = discard_one(road, admin, ids[1], if_match=("v1",))
    assert tagged["error"]["code"] == "precondition_failed"


def discard_one(road: Road, sender: UUID | None, letter: UUID, **more: Any) -> dict[str, Any]:
    job_id = road.submit("dead_letters.discard_one", target=letter, owner=sender, **more)
    road.leases.settle(road.execute(road.leases.reserve(["deliveries"], 1)))
    return road.job(job_id)


@pytest.mark.parametrize("kind", ["replay", "discard"])
def test_it_is_for_admins_and_for_whoever_is_at_the_command_line(
    road: Road, letters: Any, people: dict[str, Person], kind: str
) -> None:
    ids = letters(*AGES)
    assert run(road, kind, people["user"].id, kind="orders.place")["error"]["code"] == "forbidden"
    assert not any(touched(road, job_id) for job_id in ids)
    assert run(road, kind, None, kind="orders.place")["status"] == "succeeded"
    assert all(touched(road, job_id) for job_id in ids)


def test_who_did_it_is_logged(road: Road, letters: Any, admin: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = letters(*AGES)
    monkeypatch.setattr(kinds, "log", structlog.get_logger())
    with structlog.testing.capture_logs() as logs:
        discard_one(road, admin, ids[0])
        run(road, "discard", admin, ids=[str(ids[1])])
        run(road, "replay", None, kind="orders.place")
    told = [(log["event"], log["by"]) for log in logs]
    events = ("dead_letter_discarded", "dead_letters_discarded", "dead_letters_replayed")
    assert told == list(zip(events, (str(admin), str(admin), "command line"), strict=True))
    assert logs[-1]["replayed"] == 1


def test_pages_are_as_large_as_memory_allows(road: Road, letters: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = letters(*AGES, envelope=orjson.dumps({"kind": "x", "body": {"a": "b" * 3000}}).decode())
    monkeypatch.setattr(letter_store, "MOST_BYTES", 50)
    with road.sessions() as session:
        first = letter_store.oldest(session, Which(), None, 10)
        place = (first[-1].finished_at, first[-1].id)
        second = letter_store.oldest(session, Which(), place, 10)
    assert [row.id for row in first] == ids[:1], "one, however large it is"
    assert [row.id for row in second] == ids[1:2]
