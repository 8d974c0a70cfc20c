"""The checker tells what went wrong apart; each class can be found."""

from __future__ import annotations

import pytest

from tests.storm.book import PLACE, Outcome, Write
from tests.storm.checker import Verdict, judge
from tests.system.sightings import Sightings

SUCCEEDED: Outcome = ("succeeded", None)
REFUSED: Outcome = ("rejected", "unknown_service")


def write(*, acknowledged: bool = True, tries: int = 1, outcome: Outcome = SUCCEEDED) -> Write:
    made = Write("POST", "/v1/orders", {}, PLACE, key="k", job_id="j", outcome=outcome, tries=tries)
    made.acknowledged = 1.0 if acknowledged else None
    return made


def found(verdict: Verdict) -> set[str]:
    return {name for name, members in verdict.classes.items() if members}


@pytest.mark.parametrize(
    ("asked", "kept", "times", "wrong"),
    [
        (write(), SUCCEEDED, 1, set()),
        (write(outcome=REFUSED), REFUSED, 0, set()),
        (write(acknowledged=False), None, 0, set()),
        (write(acknowledged=False), SUCCEEDED, 1, set()),
        (write(), None, 0, {"lost"}),
        (write(), None, 1, {"lost", "unexpected"}),
        (write(), SUCCEEDED, 0, {"lost"}),
        (write(), SUCCEEDED, 2, {"duplicated"}),
        (write(acknowledged=False), SUCCEEDED, 2, {"duplicated"}),
        (write(acknowledged=False), None, 1, {"unexpected"}),
        (write(), REFUSED, 0, {"wrong_status"}),
        (write(outcome=REFUSED), REFUSED, 1, {"unexpected"}),
        (write(outcome=REFUSED), SUCCEEDED, 1, {"wrong_status"}),
    ],
)
def test_a_write_is_judged_by_its_outcome_and_its_effects(
    asked: Write, kept: Outcome | None, times: int, wrong: set[str]
) -> None:
    verdict = Verdict()
    judge(asked, kept, times, verdict)
    assert found(verdict) == wrong


def test_what_was_acknowledged_after_asking_again_is_recovered() -> None:
    verdict = Verdict()
    judge(write(tries=3), SUCCEEDED, 1, verdict)
    assert len(verdict.recovered) == 1
    assert found(verdict) == set()


def job(status: str, **more: object) -> dict[str, object]:
    final = status in ("succeeded", "rejected", "failed", "canceled")
    told = {"kind": "k", "submitted_at": "t", "links": {}, "attempts": 1, "error": None, "run_at": None}
    return {"id": "j", "status": status, "finished_at": "t" if final else None, **told, **more}


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        ([job("queued"), job("running"), job("queued"), job("running"), job("succeeded")], 0),
        ([job("scheduled", run_at="t"), job("queued"), job("rejected"), job("rejected")], 0),
        ([job("succeeded"), job("running")], 1),
        ([job("succeeded"), job("succeeded", attempts=2)], 1),
        ([job("succeeded"), job("failed")], 1),
        ([job("queued"), job("queued", kind="other")], 1),
        ([job("canceled")], 1),
        ([job("running", finished_at="t")], 1),
    ],
)
def test_what_may_not_follow_what_was_seen_is_noted(seen: list[dict[str, object]], wrong: int) -> None:
    sightings = Sightings()
    for look in seen:
        sightings.see(look)
    assert len(sightings.wrong) == wrong
