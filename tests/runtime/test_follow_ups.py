"""Follow-ups: jobs that an outcome asks for are submitted once it is true, and lost with whoever was to submit them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
import structlog

from jobs.kernel import failpoints, keys, registry
from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Conflict
from jobs.kernel.failpoints import LOSE, Point
from jobs.kernel.outcome import FollowUp, Outcome, State, rejected, succeeded
from jobs.kernel.policy import Access, Policy
from jobs.kernel.ports import Conclusion, Outside
from tests.probes import Probe
from tests.road import Road
from workers.follow_ups import follow_up
from workers.lease_worker import LeaseWorker
from workers.threads import ThreadWorker
from workers.worker import Worker

Counted = Callable[[], dict[str, int]]


def following(job_id: UUID, jobs: int = 1) -> list[UUID]:
    return [uuid5(job_id, str(number)) for number in range(jobs)]


class Trail(Probe, kind="test.trail", policy=Policy("default", access=Access.OPERATOR)):
    """A probe that nobody may send."""


class Lead(Command, kind="test.lead", policy=Policy("default")):
    """Have others follow."""

    jobs: int = 1
    refuse: bool = False

    def outcome(self, job: Job[Any]) -> Outcome:
        ups = [FollowUp(job_id, Trail()) for job_id in following(job.id, self.jobs)]
        return rejected(Conflict())._replace(follow_ups=tuple(ups)) if self.refuse else succeeded(follow_ups=ups)

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        return [job.command.outcome(job) for job in jobs]


class LeadOutside(Command, kind="test.lead_outside", policy=Policy("calls")):
    """Have another follow."""

    def conduct(self, outside: Outside, job: Job[Any]) -> Conclusion:
        return lambda _: Lead().outcome(job)


KINDS = (Trail, Lead, LeadOutside)
for kind in KINDS:
    registry.remove(kind)


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    for kind in KINDS:
        registry.add(kind)
    yield
    for kind in KINDS:
        registry.remove(kind)


def batches(road: Road) -> Worker:
    return LeaseWorker(road.of_worker, ["default"], 10)


def threads(road: Road) -> Worker:
    return ThreadWorker(road.of_worker, ["calls"], 1)


def turn(worker: Worker) -> None:
    worker._turn()
    worker._leave()


@pytest.mark.parametrize(("made", "kind"), [(batches, "test.lead"), (threads, "test.lead_outside")])
def test_what_follows_from_a_job_is_nobodys_and_takes_effect_once(
    road: Road, effects: Counted, made: Callable[[Road], Worker], kind: str
) -> None:
    job_id = road.submit(kind)
    turn(made(road))
    (follower,) = following(job_id)
    assert (road.status(job_id), road.status(follower)) == (State.SUCCEEDED, State.QUEUED)
    record = road.ledger.find(follower)
    assert record is not None
    assert record.owner is None
    road.work()
    assert road.status(follower) is State.SUCCEEDED
    assert effects() == {str(follower): 1}


def test_any_final_outcome_may_have_some_to_follow(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.lead", {"refuse": True})
    road.work()
    assert road.status(job_id) is State.REJECTED
    assert effects() == {str(following(job_id)[0]): 1}


def test_many_follow_in_one_go(road: Road, effects: Counted) -> None:
    job_id = road.submit("test.lead", {"jobs": 250})
    turn(batches(road))
    assert road.redis.llen(keys.queue("default")) == 250
    road.work()
    assert effects() == dict.fromkeys(map(str, following(job_id, 250)), 1)


def test_a_worker_that_dies_between_commit_and_submit_loses_only_what_was_to_follow(
    road: Road, effects: Counted
) -> None:
    job_id = road.submit("test.lead")
    settlements = road.execute(road.reserve())  # committed, and the worker dies before it can tell
    road.expire_leases()
    turn(batches(road))
    assert road.status(job_id) is State.SUCCEEDED
    assert road.work() == 0, "who finds the receipt there does not submit what follows"
    for _ in range(2):  # as a kind does that sweeps; twice, or after it was submitted all the same
        follow_up(road.follow_ups, settlements)
    road.work()
    follow_up(road.follow_ups, settlements)
    road.work()
    assert effects() == {str(following(job_id)[0]): 1}


@pytest.mark.parametrize("why", ["queue_unavailable", "queue_full"])
def test_what_cannot_be_submitted_is_left_and_said_by_number_and_reason(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    job_id = road.submit("test.lead", {"jobs": 150})
    monkeypatch.setattr(failpoints, "_armed", {})
    most = 20 if why == "queue_full" else 1000
    worker = LeaseWorker(road.of_worker.model_copy(update={"max_queue_depth": most}), ["default"], 10)
    if why == "queue_unavailable":
        failpoints.arm(f"{Point.SUBMIT_BEGINS}={LOSE}@{tmp_path / 'latch'}")
    with structlog.testing.capture_logs() as logs:
        turn(worker)
    left = [(entry["error"], entry["jobs"]) for entry in logs if entry["event"] == "follow_ups_not_submitted"]
    assert left == [(why, 130 if why == "queue_full" else 150)]
    assert road.status(job_id) is State.SUCCEEDED


@pytest.mark.parametrize("point", [Point.RECEIPT_WRITTEN, Point.COMMIT_ANSWERED])
def test_a_job_that_is_to_run_again_leads_to_nothing_yet(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: Point
) -> None:
    job_id = road.submit("test.lead")
    monkeypatch.setattr(failpoints, "_armed", {})
    failpoints.arm(f"{point}={LOSE}@{tmp_path / 'latch'}")
    turn(batches(road))
    assert road.ledger.find(following(job_id)[0]) is None
