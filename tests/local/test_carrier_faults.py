"""What goes wrong at the carrier simulator, as the real Twilio SDK meets it."""

from __future__ import annotations

import time
from dataclasses import asdict, fields

import pytest
import requests
from twilio.base.exceptions import TwilioRestException

from local.carrier import Carrier, Faults
from tests.local.callee import Callee
from tests.local.caller import COURSE, TO, Sdk, number, refused
from tests.processes import until

DROPPED, FAILED, LATE, NO_JSON = (requests.ConnectionError, TwilioRestException, requests.ReadTimeout, ValueError)
LOST = [("drop", DROPPED), ("error", FAILED), ("hang", LATE), ("garbled", NO_JSON)]


def test_a_number_that_is_busy_twice_takes_the_third_request_for_each_call(
    carrier: Carrier, sdk: Sdk, callee: Callee
) -> None:
    for call in ("one", "two"):
        assert [refused(sdk, callee, number("limit"), call=call) for _ in range(2)] == [(429, 20429)] * 2
        assert sdk.dial(callee, number("limit"), call=call).status == "queued"
    assert [dial.call for dial in carrier.dials] == ["one", "two"]


@pytest.mark.parametrize(("fault", "seen"), LOST)
def test_a_call_is_placed_although_its_answer_is_lost(
    carrier: Carrier, sdk: Sdk, callee: Callee, fault: str, seen: type[Exception]
) -> None:
    carrier.faults = Faults(**{fault: 1})
    sdk.http_client.timeout = 0.5
    with pytest.raises(seen):
        sdk.dial(callee)
    assert [dial.fault for dial in carrier.dials] == [fault]
    until(lambda: callee.statuses() == COURSE)
    (found,) = sdk.calls.list(to=TO)
    assert found.sid == carrier.dials[0].sid


def test_an_answer_that_hangs_comes_in_the_end(carrier: Carrier, sdk: Sdk, callee: Callee) -> None:
    carrier.faults = Faults(hang=1)
    began = time.monotonic()
    assert sdk.dial(callee).sid == carrier.dials[0].sid
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(("word", "seen"), [("drop", DROPPED), ("error", FAILED)])
def test_a_number_loses_the_answer(
    carrier: Carrier, sdk: Sdk, callee: Callee, word: str, seen: type[Exception]
) -> None:
    with pytest.raises(seen):
        sdk.dial(callee, number(word))
    assert [(dial.to, dial.fault) for dial in carrier.dials] == [(number(word), word)]


@pytest.mark.parametrize("to", [TO, number("lose")])
def test_a_request_that_is_lost_places_no_call(carrier: Carrier, sdk: Sdk, callee: Callee, to: str) -> None:
    carrier.faults = Faults(lose=1 if to == TO else 0)
    with pytest.raises(requests.ConnectionError):
        sdk.dial(callee, to)
    assert (carrier.dials, sdk.calls.list()) == ([], [])
    assert [(request.kind, request.status) for request in carrier.requests] == [("dial", 0), ("list", 200)]


@pytest.mark.parametrize(
    ("fault", "answer"), [("limit", (429, 20429)), ("outage", (503, 20503)), ("reject", (400, 21215))]
)
def test_a_fault_refuses_a_call(
    carrier: Carrier, sdk: Sdk, callee: Callee, fault: str, answer: tuple[int, int]
) -> None:
    carrier.faults = Faults(**{fault: 1})
    assert refused(sdk, callee) == answer
    assert carrier.dials == []
    carrier.faults = Faults()
    assert sdk.dial(callee).status == "queued"


@pytest.mark.parametrize("fault", ["limit", "outage"])
def test_a_service_that_is_out_answers_no_question_either(carrier: Carrier, sdk: Sdk, fault: str) -> None:
    carrier.faults = Faults(**{fault: 1})
    with pytest.raises(TwilioRestException):
        sdk.calls("CA" + "0" * 32).fetch()


def test_early_callbacks_come_before_the_answer(carrier: Carrier, sdk: Sdk, callee: Callee) -> None:
    carrier.faults = Faults(early=1, drop=1)
    with pytest.raises(requests.ConnectionError):
        sdk.dial(callee)
    assert callee.statuses()[:2] == COURSE[:2]
    until(lambda: callee.statuses() == COURSE)
    assert carrier.dials[0].fault == "drop+early"


def test_double_callbacks_are_the_same_twice(sdk: Sdk, carrier: Carrier, callee: Callee) -> None:
    carrier.faults = Faults(double=1)
    sdk.dial(callee)
    until(lambda: len(callee.callbacks()) == 8)
    forms = callee.callbacks()
    assert forms[::2] == forms[1::2]
    assert callee.statuses()[::2] == COURSE


def test_reordered_callbacks_all_come(sdk: Sdk, carrier: Carrier, callee: Callee) -> None:
    carrier.faults = Faults(reorder=1)
    sdk.dial(callee)
    until(lambda: len(callee.callbacks()) == 4)
    assert callee.statuses() != COURSE
    assert sorted(callee.statuses()) == sorted(COURSE)


def test_the_rest_of_early_callbacks_can_be_reordered(sdk: Sdk, carrier: Carrier, callee: Callee) -> None:
    carrier.faults = Faults(early=1, reorder=1)
    sdk.dial(callee)
    until(lambda: len(callee.callbacks()) == 4)
    assert callee.statuses() == [*COURSE[:2], *reversed(COURSE[2:])]


def test_a_mute_carrier_can_still_be_asked(sdk: Sdk, carrier: Carrier, callee: Callee) -> None:
    carrier.faults = Faults(mute=1, double=1)
    placed = sdk.dial(callee)
    until(lambda: sdk.calls(placed.sid).fetch().status == "completed")
    assert (callee.callbacks(), carrier.callbacks) == ([], [])


def test_a_closed_port_refuses_connections_and_opens_again(carrier: Carrier, sdk: Sdk, callee: Callee) -> None:
    url = carrier.url
    carrier.faults = Faults(refuse=1)
    for _ in range(3):
        with pytest.raises(requests.ConnectionError, match="Connection refused"):
            sdk.dial(callee)
    assert (carrier.dials, carrier.requests) == ([], [])
    carrier.faults = Faults()
    assert sdk.dial(callee).status == "queued"
    assert carrier.url == url


def test_a_port_that_is_closed_half_of_the_time_refuses_and_never_loses(carrier: Carrier, sdk: Sdk) -> None:
    carrier.faults = Faults(refuse=0.5)
    answered = 0
    errors: list[str] = []
    deadline = time.monotonic() + 20
    while min(answered, len(errors)) < 20 and time.monotonic() < deadline:
        try:
            sdk.calls.list()
            answered += 1
        except requests.ConnectionError as error:
            errors.append(str(error))
    assert min(answered, len(errors)) >= 20
    assert all("Connection refused" in error for error in errors)
    assert len(carrier.requests) == answered


@pytest.mark.parametrize("wrong", ["drop=2", "drop=-1", "drop=x", "drop", "crash=1"])
def test_faults_that_are_none_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Faults.parse(wrong)


def test_every_fault_can_be_given_by_name() -> None:
    names = [field.name for field in fields(Faults)]
    given = ", ".join(f"{name}=0.{place}" for place, name in enumerate(names, 1))
    assert list(asdict(Faults.parse(given)).values()) == [float(f"0.{place}") for place in range(1, len(names) + 1)]
