"""Upkeep: what has been kept for its time is pruned, once, whoever prunes and however often; all else stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy import event

from jobs import upkeep
from jobs.kernel.outcome import State
from tests.processes import children, kill, python, running, until
from tests.road import Road

Execute = Callable[..., Any]

RECEIPTS = """
    INSERT INTO receipts (id, kind, state, run, attempts, submitted_at, finished_at)
    SELECT gen_random_uuid(), 'test.old', %s, 1, 1, now() - %s * interval '1 day', now() - %s * interval '1 day'
    FROM generate_series(1, %s) RETURNING id::text
"""
EVENTS = """
    INSERT INTO events (id, owner_id, name, details, delivery, created_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 'old', '{}', %s, now() - %s * interval '1 day'
    FROM generate_series(1, %s) RETURNING id::text
"""
NOTICES = """
    INSERT INTO outbox (kind, owner_id, subject_id, payload, created_at, sent_at)
    SELECT 'test.old', gen_random_uuid(), gen_random_uuid(), '{}', now() - %s * interval '1 day', now() - %s * interval '1 day'
    FROM generate_series(1, %s) RETURNING id::text
"""
NEVER = None
"""Days since a notice was sent that was not."""

WATCH = """
    CREATE TABLE deletions (xact xid8, rows int);
    GRANT ALL ON deletions TO PUBLIC;
    CREATE FUNCTION note_deletion() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO deletions SELECT pg_current_xact_id(), count(*) FROM gone;
        PERFORM pg_sleep(%s);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_deletion AFTER DELETE ON receipts REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION note_deletion();
"""
FORGET = "DROP TRIGGER IF EXISTS note_deletion ON receipts; DROP FUNCTION IF EXISTS note_deletion; DROP TABLE IF EXISTS deletions"


def receipts(
    execute: Execute, finished: float, number: int = 1, state: str = "succeeded", submitted: float = 0
) -> set[str]:
    """Receipts of jobs that finished so many days ago, and were submitted then, or so many days ago."""
    return {name for (name,) in execute(RECEIPTS, state, submitted or finished, finished, number)}


def events(execute: Execute, created: float, number: int = 1, delivery: str = "none") -> set[str]:
    return {name for (name,) in execute(EVENTS, delivery, created, number)}


def notices(execute: Execute, created: float, sent: float | None, number: int = 1) -> set[str]:
    return {name for (name,) in execute(NOTICES, created, sent, number)}


def there(execute: Execute, table: str) -> set[str]:
    """What is left of what these tests have written."""
    mine = {"receipts": "kind = 'test.old'", "events": "name = 'old'", "outbox": "kind = 'test.old'"}
    return {name for (name,) in execute(f"SELECT id::text FROM {table} WHERE {mine[table]}")}


def prune(road: Road) -> UUID:
    return road.submit("upkeep.prune", owner=None)


def pruned(road: Road) -> dict[str, int]:
    """How many of each went in one execution."""
    job = prune(road)
    road.work()
    assert road.status(job) is State.SUCCEEDED, road.job(job)
    told: dict[str, int] = road.job(job)["result"]
    return told


@pytest.fixture
def watched(execute: Execute) -> Iterator[Callable[..., None]]:
    """Has what is deleted of receipts counted, by transactions; each of which takes so many seconds."""
    yield lambda seconds=0.0: execute(WATCH, seconds)
    execute(FORGET)


def test_what_has_been_kept_for_its_time_goes_and_all_else_stays(road: Road, execute: Execute) -> None:
    receipts(execute, 91, 3)
    events(execute, 366, 2)
    notices(execute, 200, 91, 4)
    young = receipts(execute, 89, 2), events(execute, 364, 2), notices(execute, 89, 89, 2)
    assert pruned(road) == {"receipts": 3, "events": 2, "outbox": 4}
    assert (there(execute, "receipts"), there(execute, "events"), there(execute, "outbox")) == young


@pytest.mark.parametrize("state", ["succeeded", "rejected", "failed", "canceled"])
def test_a_receipt_goes_whatever_became_of_its_job(road: Road, execute: Execute, state: str) -> None:
    receipts(execute, 91, state=state)
    assert pruned(road)["receipts"] == 1


def test_a_job_that_waited_for_months_is_remembered_from_when_it_finished(road: Road, execute: Execute) -> None:
    late = receipts(execute, 1, 3, submitted=120)
    receipts(execute, 100, 2, submitted=130)
    assert pruned(road)["receipts"] == 2
    assert there(execute, "receipts") == late


@pytest.mark.parametrize(("delivery", "goes"), [("none", 1), ("delivered", 1), ("failed", 1), ("pending", 0)])
def test_an_event_that_is_still_to_be_delivered_stays(road: Road, execute: Execute, delivery: str, goes: int) -> None:
    events(execute, 1000, delivery=delivery)
    assert pruned(road)["events"] == goes


@pytest.mark.parametrize("sent", [NEVER, 1])
def test_a_notice_that_was_not_sent_or_only_lately_stays(road: Road, execute: Execute, sent: float | None) -> None:
    kept = notices(execute, 1000, sent)
    assert pruned(road)["outbox"] == 0
    assert there(execute, "outbox") == kept


def test_events_are_kept_for_ever_where_that_is_asked_for(road: Road, execute: Execute) -> None:
    old = events(execute, 10_000, 3)
    receipts(execute, 91)
    for_ever = road.with_settings(event_retention_days=0)
    assert pruned(for_ever) == {"receipts": 1, "events": 0, "outbox": 0}
    assert there(execute, "events") == old
    for_ever.close()


def test_what_is_kept_for_how_long_can_be_set(road: Road, execute: Execute) -> None:
    receipts(execute, 2)
    events(execute, 4)
    notices(execute, 2, 2)
    short = road.with_settings(receipt_retention_days=1, event_retention_days=3)
    assert pruned(short) == {"receipts": 1, "events": 1, "outbox": 1}
    short.close()


def test_many_thousand_go_in_one_execution_but_not_in_one_transaction(
    road: Road, execute: Execute, watched: Callable[..., None]
) -> None:
    young = receipts(execute, 1, 1500, submitted=200)
    receipts(execute, 91, 5500)
    watched()
    assert pruned(road)["receipts"] == 5500
    assert there(execute, "receipts") == young
    found = execute("SELECT sum(rows)::int FROM deletions GROUP BY xact")
    assert sum(rows for (rows,) in found) == 5500
    assert max(rows for (rows,) in found) <= 1000


def test_what_is_left_when_its_time_is_over_the_next_one_prunes(
    road: Road, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "TOGETHER", 10)
    monkeypatch.setattr(upkeep, "PRUNED_WITHIN", 0)
    receipts(execute, 91, 25)
    events(execute, 366, 15)
    assert [list(pruned(road).values()) for _ in range(3)] == [[10, 10, 0], [10, 5, 0], [5, 0, 0]]


def test_several_at_once_prune_each_row_once(road: Road, execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "TOGETHER", 20)
    receipts(execute, 91, 400)
    events(execute, 366, 400)
    asked = [prune(road) for _ in range(4)]
    deliveries = road.reserve()
    with ThreadPoolExecutor(4) as pool:
        settled = list(pool.map(lambda delivery: road.execute([delivery]), deliveries))
    for settlements in settled:
        road.leases.settle(settlements)
    told = [road.job(job)["result"] for job in asked]
    assert sum(each["receipts"] for each in told) == 400 - len(there(execute, "receipts"))
    assert sum(each["events"] for each in told) == 400 - len(there(execute, "events"))
    pruned(road)
    assert there(execute, "receipts") | there(execute, "events") == set()


def test_what_somebody_has_locked_is_left_to_the_next_look(road: Road, execute: Execute) -> None:
    events(execute, 366)
    held = events(execute, 366)
    with road.sessions() as other:
        other.connection().exec_driver_sql("SELECT 1 FROM events WHERE id = %s FOR UPDATE", tuple(held))
        assert pruned(road)["events"] == 1
        assert there(execute, "events") == held
    assert pruned(road)["events"] == 1


def test_where_nothing_is_to_go_each_table_is_looked_at_once(road: Road, execute: Execute) -> None:
    receipts(execute, 1, 5)
    began: list[str] = []
    job = prune(road)
    event.listen(road.sessions.kw["bind"], "commit", lambda _: began.append("committed"))
    road.work()
    assert road.status(job) is State.SUCCEEDED
    assert len(began) == 3 + 1, "and its own receipt is written"


def test_who_may_have_lost_the_lease_prunes_no_more(road: Road, execute: Execute) -> None:
    from workers.work import opened

    old = receipts(execute, 91)
    prune(road)
    (delivery,) = road.reserve()
    road.conduct(opened(delivery), lambda: False)
    assert there(execute, "receipts") == old


def test_who_comes_after_one_that_was_killed_prunes_the_rest(
    road: Road, execute: Execute, watched: Callable[..., None], tmp_path: Path
) -> None:
    receipts(execute, 91, 3000)
    watched(1.0)
    job = prune(road)
    crew = python("-m", "workers", "--queues", "deliveries", "--processes", "1")
    with running(crew, road.of_worker, tmp_path / "workers.log") as supervisor:
        until(lambda: len(there(execute, "receipts")) < 3000)
        family = [psutil.Process(supervisor.pid), *children(supervisor.pid)]
        for process in family:
            kill(process)
    left = len(there(execute, "receipts"))
    assert 0 < left < 3000
    execute(FORGET)
    road.expire_leases()
    road.work()
    assert road.job(job)["result"]["receipts"] == left
    assert there(execute, "receipts") == set()
