"""The checker of calls tells what went wrong apart; each class can be found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.carrier.book import Order
from tests.storm.book import DIAL, Outcome, Write
from tests.storm.call_checker import Ledger, Row, judge
from tests.storm.checker import Verdict
from tests.system import telephony
from tests.system.sightings import CallSightings

SUCCEEDED: Outcome = ("succeeded", None)
NOT_PLACED: Outcome = ("failed", "not_placed")
UNKNOWN: Outcome = ("failed", "outcome_unknown")
SOONER, LATER = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
OURS = "sid of the dial"


def call(status: str, version: int, sid: str | None = None) -> dict[str, Any]:
    return {"id": "c", "status": status, "version": version, "sid": sid}


def write(*, acknowledged: bool = True) -> Write:
    made = Write("POST", "/v1/calls", {}, DIAL, key="k", job_id="j", tries=1)
    made.acknowledged = 1.0 if acknowledged else None
    return made


def ledger(dials: int) -> Ledger:
    """Of a carrier that was asked for the call so many times, and has it completed."""
    with telephony.simulator() as carrier:
        for _ in range(dials):
            carrier._book.accept(Order("+14155550199", telephony.NUMBER, "j"), frozenset()).status = "completed"
        return Ledger(carrier)


def row(status: str, sid: str | None, kept: Ledger, given_up: datetime | None = None) -> Row:
    return Row(status, kept.dials["j"][0].sid if sid == OURS else sid, given_up)


def found(verdict: Verdict) -> set[str]:
    return {name for name, members in verdict.classes.items() if members}


@pytest.mark.parametrize(
    ("outcome", "status", "sid", "dials", "wrong"),
    [
        (SUCCEEDED, "completed", OURS, 1, set()),
        (NOT_PLACED, "not_placed", None, 0, set()),
        (UNKNOWN, "unknown", None, 1, set()),
        (UNKNOWN, "unknown", None, 0, set()),
        (UNKNOWN, "completed", OURS, 1, set()),
        (SUCCEEDED, "completed", OURS, 2, {"duplicated"}),
        (UNKNOWN, "unknown", None, 2, {"duplicated"}),
        (SUCCEEDED, "completed", "another", 0, {"lost"}),
        (SUCCEEDED, "completed", "another", 1, {"wrong_status"}),
        (SUCCEEDED, "ringing", OURS, 1, {"wrong_status"}),
        (NOT_PLACED, "not_placed", None, 1, {"unexpected"}),
        (NOT_PLACED, "dialing", None, 0, {"wrong_status"}),
        (("failed", "job_failed"), "dialing", None, 0, {"wrong_status"}),
        (("rejected", "call_in_progress"), "completed", OURS, 1, {"wrong_status"}),
    ],
)
def test_a_call_with_an_outcome_is_judged(
    outcome: Outcome, status: str, sid: str | None, dials: int, wrong: set[str]
) -> None:
    verdict, kept = Verdict(), ledger(dials)
    judge(write(), outcome, row(status, sid, kept), kept, verdict)
    assert found(verdict) == wrong


@pytest.mark.parametrize(
    ("acknowledged", "dials", "wrong"), [(True, 0, {"lost"}), (False, 0, set()), (False, 1, {"unexpected"})]
)
def test_a_call_without_an_outcome_is_judged(acknowledged: bool, dials: int, wrong: set[str]) -> None:
    verdict = Verdict()
    judge(write(acknowledged=acknowledged), None, None, ledger(dials), verdict)
    assert found(verdict) == wrong


@pytest.mark.parametrize(("given_up", "said"), [(SOONER, "after that"), (LATER, "before that")])
def test_a_dial_that_came_after_its_call_had_been_given_up_is_told_apart(given_up: datetime, said: str) -> None:
    verdict, kept = Verdict(), ledger(1)
    judge(write(), NOT_PLACED, row("not_placed", None, kept, given_up), kept, verdict)
    assert said in verdict.unexpected[0]


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        ([call("requested", 1), call("dialing", 2), call("unknown", 3), call("ringing", 4, OURS)], 0),
        ([call("dialing", 2), call("dialing", 2)], 0),
        ([call("ringing", 4, OURS), call("ringing", 5, OURS)], 0),
        ([call("ringing", 4, OURS), call("initiated", 5, OURS)], 1),
        ([call("completed", 4, OURS), call("busy", 5, OURS)], 1),
        ([call("not_placed", 4), call("completed", 5, OURS)], 1),
        ([call("ringing", 4, OURS), call("ringing", 5, "another")], 1),
        ([call("dialing", 2), call("ringing", 2)], 1),
        ([call("ringing", 3), call("completed", 2)], 1),
    ],
)
def test_what_is_seen_of_a_call_is_judged(seen: list[dict[str, Any]], wrong: int) -> None:
    sightings = CallSightings()
    for each in seen:
        sightings.see(each)
    assert len(sightings.wrong) == wrong, sightings.wrong
