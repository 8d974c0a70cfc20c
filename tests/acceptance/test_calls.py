"""Calls, by real processes: one that is told of from request to end, and workers that end with one in hand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from local.carrier import Carrier, Dial, Faults
from tests.acceptance.stack import Stack, children_of
from tests.processes import kill, until
from tests.system.client import Client, Job

COURSE = ["requested", "dialing", "queued", "initiated", "ringing", "in_progress", "completed"]
STOPS_WITHIN = 25

numbers = count(1000)


def place(user: Client) -> Job:
    """The job of a call, to a number of its own."""
    body = {"phone_number": f"+1415555{next(numbers)}", "customer_name": "Ada", "workflow": "reminder"}
    answer = user.post(body, "/v1/calls")
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def call(user: Client, job: Job) -> Job:
    answer = user.get(job["links"]["resource"])
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def completed(user: Client, job: Job) -> Job:
    """The call, once it is over as the carrier had planned it."""
    until(lambda: call(user, job)["status"] == "completed")
    return call(user, job)


def dials(carrier: Carrier, job: Job) -> list[Dial]:
    return [dial for dial in carrier.dials if dial.call == job["id"]]


@pytest.fixture
def hanging(carrier: Carrier) -> Iterator[Carrier]:
    """The carrier, which takes calls, and says so late; afterwards as usual."""
    carrier.faults = Faults(hang=1)
    yield carrier
    carrier.faults = Faults()


def test_a_call_is_told_of_from_request_to_end(stack: Stack, user: Client, carrier: Carrier) -> None:
    with stack.workers(1), stack.callers():
        job = place(user)
        assert user.until_final(job["id"])["status"] == "succeeded"
        over = completed(user, job)
    sources = {event["status"]: event["source"] for event in over["timeline"]}
    assert list(sources) == COURSE
    assert [sources[status] for status in COURSE[3:]] == ["callback"] * 4
    (dial,) = dials(carrier, job)
    assert over["sid"] == dial.sid
    assert over["duration"] >= 1


def test_a_worker_that_is_killed_while_the_carrier_answers_leaves_a_call_that_is_found_and_not_dialled_again(
    stack: Stack, user: Client, hanging: Carrier
) -> None:
    with stack.workers(1), stack.callers() as supervisor, stack.scheduler():
        job = place(user)
        until(lambda: bool(dials(hanging, job)))
        (worker,) = children_of(supervisor)
        kill(worker)
        final, over = user.until_final(job["id"]), completed(user, job)
    assert (final["status"], final["attempts"]) == ("succeeded", 2)
    (dial,) = dials(hanging, job)
    assert over["sid"] == dial.sid


def test_a_worker_that_is_asked_to_stop_waits_for_the_carriers_answer(
    stack: Stack, user: Client, hanging: Carrier
) -> None:
    with stack.callers() as supervisor:
        job = place(user)
        until(lambda: bool(dials(hanging, job)))
        assert user.job(job["id"])["status"] == "running"
        supervisor.terminate()
        assert supervisor.wait(STOPS_WITHIN) == 0
    final = user.job(job["id"])
    assert (final["status"], final["attempts"]) == ("succeeded", 1)
    assert final["result"]["sid"] == dials(hanging, job)[0].sid
    assert len(dials(hanging, job)) == 1
