"""PostgreSQL going away: what may be told of a job, which is nothing that its receipt might contradict; and what becomes
of one that was being looked for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy.exc import DBAPIError

from jobs.kernel import failpoints
from jobs.kernel.failpoints import LOSE, Point
from jobs.kernel.outcome import Again, State
from tests.processes import until
from tests.road import Road
from workers.settle import HandBack, Settlement


@pytest.fixture
def away(road: Road) -> Iterator[Road]:
    """The same road, without its database."""
    without = road.with_settings(write_database_url="postgresql://millrace@127.0.0.1:1/none")
    yield without
    without.close()


def untold(away: Road, job_id: UUID) -> bool:
    """Whether nothing is said of a job without PostgreSQL."""
    try:
        away.ledger.find(job_id)
    except DBAPIError:
        return True
    return False


def test_a_job_that_no_worker_had_is_told(road: Road, away: Road) -> None:
    assert away.status(road.submit("test.probe")) is State.QUEUED


def test_a_job_that_a_worker_could_not_begin_is_told(road: Road, away: Road) -> None:
    job_id = road.submit("test.probe")
    (settlement,) = away.execute(road.reserve())
    assert settlement.verdict == HandBack(in_doubt=False)
    road.leases.settle([settlement])
    assert away.status(job_id) is State.QUEUED


def test_a_job_that_a_worker_has_in_hand_is_not(road: Road, away: Road) -> None:
    job_id = road.submit("test.probe")
    deliveries = road.reserve()
    assert untold(away, job_id)
    settlements = road.execute(deliveries)
    assert (road.status(job_id), untold(away, job_id)) == (State.SUCCEEDED, True)
    road.leases.settle(settlements)
    assert untold(away, job_id)


def test_a_job_whose_worker_died_after_its_commit_is_not(road: Road, away: Road) -> None:
    job_id = road.submit("test.probe")
    road.execute(road.reserve())
    road.expire_leases()
    assert road.redis.hget(f"rq:job:{job_id}", "state") == b"queued"
    assert (road.status(job_id), untold(away, job_id)) == (State.SUCCEEDED, True)


def test_a_job_whose_commit_was_not_answered_is_not(
    road: Road, away: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = road.submit("test.probe")
    monkeypatch.setattr(failpoints, "_armed", {})
    failpoints.arm(f"{Point.COMMIT_ANSWERED}={LOSE}@{tmp_path / 'latch'}")
    (settlement,) = road.execute(road.reserve())
    assert settlement.verdict == HandBack(in_doubt=True)
    road.leases.settle([settlement])
    assert road.redis.hget(f"rq:job:{job_id}", "state") == b"queued"
    assert (road.status(job_id), untold(away, job_id)) == (State.SUCCEEDED, True)
    assert road.work() == 1
    assert road.job(job_id)["attempts"] == 1


def test_a_doubt_ends_with_the_next_transaction_that_leaves_the_job_open(road: Road, away: Road) -> None:
    job_id = road.submit("test.probe", {"do": "raise once"})
    (delivery,) = road.reserve()
    road.leases.settle([Settlement(delivery, HandBack(in_doubt=True))])
    assert untold(away, job_id)
    road.work()
    assert away.status(job_id) is State.SCHEDULED


BLOCKED = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'millrace-worker'"


@pytest.mark.parametrize(("ends", "verdict"), [(True, HandBack), (False, Again)])
def test_a_job_that_raised_and_whose_receipt_cannot_be_looked_for(road: Road, ends: bool, verdict: type) -> None:
    """The connection ends while it waits for the table: handed back. Or it waits too long: tried again, as it raised."""
    road.submit("test.probe", {"do": "raise"})
    deliveries = road.reserve()
    with closing(psycopg2.connect(road.settings.write_database_url)) as other, ThreadPoolExecutor() as worker:
        cursor = other.cursor()
        cursor.execute("LOCK TABLE receipts IN ACCESS EXCLUSIVE MODE")
        executed = worker.submit(road.execute, deliveries)
        until(lambda: bool(road.rows(BLOCKED)))
        if ends:
            cursor.execute(f"SELECT pg_terminate_backend(pid) FROM ({BLOCKED}) AS blocked")
        (settlement,) = executed.result(30)
    assert isinstance(settlement.verdict, verdict)
