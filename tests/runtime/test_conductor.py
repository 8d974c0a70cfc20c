"""Conducted jobs: steps outside PostgreSQL, and an outcome that commits together with the last of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.kernel import failpoints
from jobs.kernel.failpoints import LOSE, Point
from jobs.kernel.outcome import Again, State
from jobs.kernel.ports import Permit
from tests.conftest import Person
from tests.processes import environment, python
from tests.road import Road
from workers.settle import HandBack
from workers.work import opened

Counted = Callable[[], dict[str, int]]


def receipts(road: Road) -> list[Any]:
    return [(str(row.id), row.state) for row in road.rows("SELECT id, state FROM receipts")]


def test_an_errand_is_conducted_once_and_its_outcome_found(road: Road, effects: Counted, begun: Counted) -> None:
    job_id = road.submit("test.errand")
    assert road.work() == 1
    assert (road.status(job_id), road.job(job_id)["result"]["did"]) == (State.SUCCEEDED, "nothing")
    assert effects() == begun() == {str(job_id): 1}


def test_a_kind_that_is_handled_may_be_on_a_queue_of_threads(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.parcel")
    road.work()
    assert road.status(job_id) is State.SUCCEEDED
    assert effects() == {str(job_id): 1}


def test_a_conclusion_commits_together_with_the_receipt_or_not_at_all(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.errand", {"end": "raise"})
    for attempt in (1, 2, 3):
        assert (effects(), receipts(road)) == ({}, [])
        road.work()
        assert road.job(job_id)["attempts"] == attempt
        road.make_due(job_id)
    assert (road.status(job_id), road.code(job_id)) == (State.FAILED, "job_failed")
    assert (effects(), receipts(road)) == ({}, [(str(job_id), "failed")])


@pytest.mark.parametrize(
    ("end", "state", "kept"),
    [
        ("reject", State.REJECTED, 0),
        ("fail", State.FAILED, 0),
        ("snooze", State.SCHEDULED, 0),
        ("return rejected", State.REJECTED, 1),
        ("return failed", State.FAILED, 1),
        ("return again", State.SCHEDULED, 1),
    ],
)
def test_an_end_that_is_raised_takes_back_what_was_written_and_one_that_is_returned_keeps_it(
    road: Road, effects: Counted, end: str, state: State, kept: int
) -> None:
    job_id = road.submit("test.errand", {"end": end})
    road.work()
    assert road.status(job_id) is state
    assert road.code(job_id) == ("asked_for" if state.final else None)
    assert sum(effects().values()) == kept
    assert len(receipts(road)) == state.final


@pytest.mark.parametrize(
    ("deed", "state"),
    [("reject", State.REJECTED), ("fail", State.FAILED), ("cancel", State.CANCELED)],
)
@pytest.mark.parametrize("kind", ["test.errand", "test.probe"])
def test_what_a_job_raises_to_say_how_it_ends_is_its_end(
    road: Road, effects: Counted, kind: str, deed: str, state: State
) -> None:
    job_id = road.submit(kind, {"do": deed})
    road.work()
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (state, 1)
    assert road.code(job_id) == (None if deed == "cancel" else "asked_for")
    assert effects() == {}


def test_a_snooze_uses_up_no_attempt(road: Road, begun: Counted) -> None:
    job_id = road.submit("test.errand", {"do": "snooze"})
    road.work()
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (State.SCHEDULED, 0)
    assert receipts(road) == []
    road.make_due(job_id)
    road.work()
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (State.SUCCEEDED, 1)
    assert begun() == {str(job_id): 2}


@pytest.mark.parametrize("deed", ["raise", "lose a server"])
def test_what_says_nothing_of_the_end_is_tried_again_by_policy_and_then_fails(road: Road, deed: str) -> None:
    job_id = road.submit("test.errand", {"do": deed})
    for attempt in (1, 2, 3):
        road.work()
        assert road.job(job_id)["attempts"] == attempt
        assert road.status(job_id) is (State.SCHEDULED if attempt < 3 else State.FAILED)
        road.make_due(job_id)
    assert road.code(job_id) == "job_failed"


def test_a_job_that_has_its_receipt_is_not_conducted_again(road: Road, effects: Counted, begun: Counted) -> None:
    job_id = road.submit("test.errand")
    road.execute(road.reserve())
    road.expire_leases()
    road.work()
    assert road.status(job_id) is State.SUCCEEDED
    assert effects() == begun() == {str(job_id): 1}


@pytest.mark.parametrize("loss", ["disabled_at = now()", "deleted_at = now()"])
def test_who_lost_the_right_since_is_refused_before_anything_is_done(
    road: Road, people: dict[str, Person], execute: Callable[..., Any], begun: Counted, loss: str
) -> None:
    job_id = road.submit("test.errand", owner=people["other"].id)
    execute(f"UPDATE users SET {loss} WHERE id = %s::uuid", str(people["other"].id))
    road.work()
    assert (road.status(job_id), road.code(job_id)) == (State.REJECTED, "forbidden")
    assert begun() == {}


def test_what_is_under_way_is_brought_to_its_end_whoever_sent_it(
    road: Road, people: dict[str, Person], execute: Callable[..., Any], effects: Counted
) -> None:
    job_id = road.submit("test.errand", {"do": "snooze"}, owner=people["other"].id)
    road.work()
    execute("UPDATE users SET disabled_at = now() WHERE id = %s::uuid", str(people["other"].id))
    road.make_due(job_id)
    road.work()
    assert road.status(job_id) is State.SUCCEEDED
    assert effects() == {str(job_id): 1}


def test_a_lease_that_may_be_anothers_ends_the_execution_and_the_job_runs_again(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.errand", {"do": "insist"})
    (delivery,) = road.reserve()
    settlements = road.conduct(opened(delivery), ours=lambda: False)
    assert [settlement.verdict for settlement in settlements] == [HandBack(in_doubt=True)]
    assert effects() == {}
    road.leases.settle(settlements)
    road.work()
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (State.SUCCEEDED, 1)


@pytest.mark.parametrize("server", ["Redis", "PostgreSQL"])
def test_a_server_that_goes_away_between_steps_hands_the_job_back_and_nothing_is_counted(
    road: Road, effects: Counted, server: str
) -> None:
    job_id = road.submit("test.errand", {"do": f"lose {server}"})
    (settlement,) = road.execute(road.reserve())
    assert settlement.verdict == HandBack(in_doubt=False)
    road.leases.settle([settlement])
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (State.QUEUED, 0)
    assert effects() == {}


def test_postgresql_gone_at_the_beginning_hands_the_job_back(road: Road) -> None:
    road.submit("test.errand")
    away = road.with_settings(write_database_url="postgresql://millrace@127.0.0.1:1/none")
    (settlement,) = away.execute(road.reserve())
    assert settlement.verdict == HandBack(in_doubt=False)
    away.close()


def test_postgresql_gone_in_the_last_commit_leaves_a_doubt_that_the_receipt_ends(
    road: Road, effects: Counted, begun: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = road.submit("test.errand")
    monkeypatch.setattr(failpoints, "_armed", {})
    failpoints.arm(f"{Point.COMMIT_ANSWERED}={LOSE}@{tmp_path / 'latch'}")
    (settlement,) = road.execute(road.reserve())
    assert settlement.verdict == HandBack(in_doubt=True)
    road.leases.settle([settlement])
    road.work()
    assert (road.status(job_id), road.job(job_id)["attempts"]) == (State.SUCCEEDED, 1)
    assert effects() == begun() == {str(job_id): 1}


def test_the_clock_goes_on_while_a_step_takes_its_time(road: Road) -> None:
    job_id = road.submit("test.errand", {"seconds": 0.5})
    road.work()
    job = road.job(job_id)
    started, ended, finished = (
        datetime.fromisoformat(time) for time in (job["started_at"], job["result"]["at"], job["finished_at"])
    )
    assert 0.5 <= (ended - started).total_seconds() < 5
    assert finished >= ended


def test_a_retry_waits_from_when_it_raised(road: Road) -> None:
    road.submit("test.errand", {"do": "raise", "seconds": 0.5})
    (delivery,) = road.reserve()
    (settlement,) = road.execute([delivery])
    assert isinstance(settlement.verdict, Again)
    assert (settlement.verdict.at - delivery.started_at).total_seconds() >= 0.5


def test_without_an_account_what_needs_one_is_rejected(road: Road) -> None:
    job_id = road.submit("test.errand", {"do": "call"})
    road.work()
    assert (road.status(job_id), road.code(job_id)) == (State.REJECTED, "calls_not_configured")


def test_a_gate_is_asked_for_leave_by_its_name_and_with_the_turn(road: Road) -> None:
    class Leave:
        probe = True

    class Open:
        turns: list[str | None]

        def __init__(self) -> None:
            self.turns = []

        @contextmanager
        def enter(self, *, turn: str | None = None) -> Iterator[Permit]:
            self.turns.append(turn)
            yield Leave()

    gate = Open()
    road.gates = {"test": gate}
    job_id = road.submit("test.errand", {"do": "ask"})
    road.work()
    assert road.job(job_id)["result"] == {"probe": True}
    assert gate.turns == [str(job_id)]


def test_a_job_whose_workers_died_three_times_is_a_dead_letter_without_being_conducted(
    road: Road, begun: Counted
) -> None:
    job_id = road.submit("test.errand")
    for _ in range(3):
        road.reserve()
        road.expire_leases()
    road.work()
    assert (road.status(job_id), road.code(job_id)) == (State.FAILED, "worker_crashed")
    assert begun() == {}


def test_a_job_that_was_put_off_is_no_suspect_any_more(road: Road) -> None:
    job_id = road.submit("test.errand", {"do": "snooze"})
    road.reserve()
    road.expire_leases()
    (suspect,) = road.reserve()
    assert (suspect.suspect, suspect.crashes) == (True, 1)
    road.leases.settle(road.execute([suspect]))
    road.make_due(job_id)
    (delivery,) = road.reserve()
    assert (delivery.suspect, delivery.crashes) == (False, 1)


STOCK = "import sys; from tests import probes; from rq.cli import main; probes.declare(); sys.exit(main())"


def test_a_stock_worker_conducts_as_ours_does(road: Road, effects: Counted) -> None:
    fine, refused = road.submit("test.errand"), road.submit("test.errand", {"do": "reject"})
    asked = ("worker", "--serializer", "json", "--burst", "calls", "--url", road.of_worker.redis_url)
    done = subprocess.run(python("-c", STOCK, *asked), env=environment(road.of_worker), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (road.status(fine), road.status(refused)) == (State.SUCCEEDED, State.REJECTED)
    assert effects() == {str(fine): 1}
