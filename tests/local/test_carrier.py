"""The carrier simulator, as the real Twilio SDK finds it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import requests
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.request_validator import RequestValidator

from local.carrier import Carrier
from tests.local.callee import TWIML, Callee
from tests.local.caller import COURSE, FROM, SID, TO, TOKEN, Sdk, number, over, quick, refused
from tests.processes import until


def test_a_call_takes_its_course_and_its_owner_is_told_of_each_step(carrier: Carrier, sdk: Sdk, callee: Callee) -> None:
    placed = sdk.dial(callee)
    assert (placed.status, placed.direction, placed._from, placed.to) == ("queued", "outbound-api", FROM, TO)
    assert re.fullmatch("CA[0-9a-f]{32}", placed.sid)
    assert placed.start_time is None
    assert abs(placed.date_created - datetime.now(UTC)) < timedelta(seconds=30)
    until(lambda: callee.statuses() == COURSE)

    forms = callee.callbacks(placed.sid)
    assert [form["SequenceNumber"] for form in forms] == ["0", "1", "2", "3"]
    assert {form["CallbackSource"] for form in forms} == {"call-progress-events"}
    assert {(form["AccountSid"], form["From"], form["To"], form["Direction"]) for form in forms} == {
        (SID, FROM, TO, "outbound-api")
    }
    assert ["CallDuration" in form for form in forms] == [False, False, False, True]
    assert forms[-1]["CallDuration"] == "1"
    times = [parsedate_to_datetime(form["Timestamp"]) for form in forms]
    assert times == sorted(times)

    ended = sdk.calls(placed.sid).fetch()
    assert (ended.status, ended.duration) == ("completed", "1")
    assert ended.date_created <= ended.start_time <= ended.end_time


def test_every_request_to_the_caller_is_signed(carrier: Carrier, sdk: Sdk, callee: Callee) -> None:
    sdk.dial(callee)
    sdk.dial(callee, method="GET", status_callback_method="GET")
    until(lambda: len(callee.told) == 10)
    validator = RequestValidator(TOKEN)
    assert all(validator.validate(told.url, told.form, told.signature) for told in callee.told)
    assert not any(RequestValidator("another").validate(told.url, told.form, told.signature) for told in callee.told)
    assert sorted(told.method for told in callee.told) == ["GET"] * 5 + ["POST"] * 5


def test_who_answers_hears_what_the_voice_url_says(carrier: Carrier, sdk: Sdk, callee: Callee) -> None:
    placed = sdk.dial(callee)
    until(lambda: over(carrier))
    assert carrier.calls[placed.sid].twiml == TWIML
    (asked,) = [told for told in callee.told if told.path == "/voice"]
    assert (asked.form["CallSid"], asked.form["CallStatus"]) == (placed.sid, "in-progress")


@pytest.mark.parametrize(("status", "twiml"), [(500, TWIML), (403, TWIML), (200, "nothing of the sort")])
def test_a_call_fails_when_there_is_nothing_to_say(sdk: Sdk, callee: Callee, status: int, twiml: str) -> None:
    callee.status["/voice"], callee.twiml = status, twiml
    sdk.dial(callee)
    until(lambda: callee.statuses() == ["initiated", "ringing", "failed"])


@pytest.mark.parametrize(("events", "told"), [(["ringing"], ["ringing"]), (["answered"], ["in-progress"])])
def test_only_events_that_were_asked_for_are_told_of(
    carrier: Carrier, sdk: Sdk, callee: Callee, events: list[str], told: list[str]
) -> None:
    sdk.dial(callee, status_callback_event=events)
    sdk.dial(callee, status_callback="")
    until(lambda: len(carrier.calls) == 2 and over(carrier))
    assert callee.statuses() == told


def test_the_end_is_told_of_where_no_event_is_named(sdk: Sdk, callee: Callee) -> None:
    sdk.dial(callee, status_callback_event=[])
    until(lambda: callee.statuses() == ["completed"])
    assert callee.callbacks()[0]["SequenceNumber"] == "0"


@pytest.mark.parametrize("answered", [500, 404])
def test_a_callback_is_sent_once_whatever_is_answered(
    carrier: Carrier, sdk: Sdk, callee: Callee, answered: int
) -> None:
    callee.status["/status"] = answered
    sdk.dial(callee)
    until(lambda: over(carrier))
    assert callee.statuses() == COURSE
    assert [callback.answered for callback in carrier.callbacks] == [answered] * 4


def test_a_call_goes_on_when_nobody_can_be_told(carrier: Carrier, sdk: Sdk, callee: Callee) -> None:
    placed = sdk.dial(callee, status_callback="http://127.0.0.1:9/nobody")
    until(lambda: over(carrier))
    assert carrier.calls[placed.sid].status == "completed"
    assert [callback.answered for callback in carrier.callbacks] == [0] * 4


@pytest.mark.parametrize(
    ("word", "course"),
    [
        ("busy", ["initiated", "ringing", "busy"]),
        ("no-answer", ["initiated", "ringing", "no-answer"]),
        ("failed", ["initiated", "failed"]),
        ("mute", []),
    ],
)
def test_a_number_decides_how_a_call_to_it_ends(
    carrier: Carrier, sdk: Sdk, callee: Callee, word: str, course: list[str]
) -> None:
    placed = sdk.dial(callee, number(word))
    until(lambda: over(carrier))
    assert callee.statuses() == course
    assert carrier.calls[placed.sid].status == (course or COURSE)[-1]
    assert all(form.get("CallDuration", "0") == "0" for form in callee.callbacks())


@pytest.mark.parametrize(("word", "who"), [("machine", "machine_start"), ("", "human")])
def test_a_caller_who_asks_is_told_who_answers(carrier: Carrier, sdk: Sdk, callee: Callee, word: str, who: str) -> None:
    placed = sdk.dial(callee, number(word) if word else TO, machine_detection="Enable")
    until(lambda: over(carrier))
    assert callee.callbacks()[-1]["AnsweredBy"] == sdk.calls(placed.sid).fetch().answered_by == who


def test_a_caller_who_does_not_ask_is_not_told_who_answers(carrier: Carrier, sdk: Sdk, callee: Callee) -> None:
    placed = sdk.dial(callee, number("machine"))
    until(lambda: over(carrier))
    assert sdk.calls(placed.sid).fetch().answered_by is None


@pytest.mark.parametrize("to", ["+15005550001", "12025550123", "+1202", "", "client:bob"])
def test_an_invalid_number_is_refused(carrier: Carrier, sdk: Sdk, callee: Callee, to: str) -> None:
    assert refused(sdk, callee, to) == (400, 21211)
    assert carrier.dials == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"from_": "+15005550001"}, 21212), ({"url": "somewhere"}, 21205), ({"status_callback": "somewhere"}, 21609)],
)
def test_a_wrong_request_is_refused(sdk: Sdk, callee: Callee, changed: dict[str, str], code: int) -> None:
    assert refused(sdk, callee, **changed) == (400, code)


def test_an_error_has_the_shape_of_twilios(carrier: Carrier) -> None:
    answer = requests.get(f"{carrier.url}/2010-04-01/Accounts/{SID}/Calls.json", timeout=5)
    assert answer.status_code == answer.json()["status"] == 401
    assert list(answer.json()) == ["code", "message", "more_info", "status"]


def test_a_stranger_is_refused(carrier: Carrier, callee: Callee) -> None:
    stranger = Sdk(carrier, token="a guess")
    assert refused(stranger, callee) == (401, 20003)
    stranger.http_client.session.close()
    assert carrier.dials == []


def test_a_call_that_nobody_knows_is_not_found(sdk: Sdk) -> None:
    with pytest.raises(TwilioRestException) as caught:
        sdk.calls("CA" + "0" * 32).fetch()
    assert (caught.value.status, caught.value.code) == (404, 20404)


def test_calls_are_found_by_number_and_time(sdk: Sdk, carrier: Carrier, callee: Callee) -> None:
    began, hour = datetime.now(UTC), timedelta(hours=1)
    calls = [sdk.dial(callee, to).sid for to in (TO, TO, "+12025550124")]
    until(lambda: over(carrier))
    assert [call.sid for call in sdk.calls.list()] == calls[::-1]
    assert [call.sid for call in sdk.calls.list(to=TO, from_=FROM, start_time_after=began)] == calls[1::-1]
    assert sdk.calls.list(to=TO, start_time_after=began + hour) == []
    assert len(sdk.calls.list(to=TO, start_time_before=began + hour)) == 2
    assert sdk.calls.list(from_="+15005550007") == []
    assert len(sdk.calls.list(status="completed")) == 3
    assert sdk.calls.list(status="queued") == []


def test_calls_are_found_before_they_start(callee: Callee) -> None:
    began = datetime.now(UTC)
    with Carrier(SID, TOKEN, **quick(queue_seconds=60)) as carrier:
        sdk = Sdk(carrier)
        placed = sdk.dial(callee)
        (found,) = sdk.calls.list(to=TO, start_time_after=began)
        assert (found.sid, found.status, found.start_time) == (placed.sid, "queued", None)
        sdk.http_client.session.close()


def test_pages_hold_every_call_once_also_when_more_come(sdk: Sdk, callee: Callee) -> None:
    calls = [sdk.dial(callee).sid for _ in range(5)]
    first = sdk.calls.page(to=TO, page_size=2)
    found = [call.sid for call in first]
    sdk.dial(callee)
    second = first.next_page()
    assert second is not None
    found += [call.sid for call in second]
    third = second.next_page()
    assert third is not None
    assert [*found, *(call.sid for call in third)] == calls[::-1]
    assert third.next_page() is None


def test_a_time_that_is_none_is_refused(sdk: Sdk) -> None:
    with pytest.raises(TwilioException) as caught:
        sdk.calls.list(start_time_after="yesterday")
    assert caught.value.args[1].status_code == 400


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Carrier]:
    """A simulator where nobody hangs up, and where it rings for as long as `ring_seconds` is not over."""
    with Carrier(SID, TOKEN, **quick(talk_seconds=60)) as started:
        yield started


@pytest.mark.parametrize("status", ["canceled", "completed"])
def test_a_call_can_be_ended_before_anybody_answers(callee: Callee, status: str) -> None:
    with Carrier(SID, TOKEN, **quick(ring_seconds=60)) as carrier:
        sdk = Sdk(carrier)
        placed = sdk.dial(callee)
        until(lambda: sdk.calls(placed.sid).fetch().status == "ringing")
        assert sdk.calls(placed.sid).update(status=status).status == status
        until(lambda: callee.statuses() == ["initiated", "ringing", status])
        sdk.http_client.session.close()


def test_only_completing_ends_a_call_that_was_answered(slow: Carrier, callee: Callee) -> None:
    sdk = Sdk(slow)
    placed = sdk.dial(callee)
    until(lambda: callee.statuses() == COURSE[:3])
    assert sdk.calls(placed.sid).update(status="canceled").status == "in-progress"
    assert sdk.calls(placed.sid).update(status="completed").status == "completed"
    until(lambda: callee.statuses() == COURSE)
    sdk.http_client.session.close()


@pytest.mark.parametrize("status", ["canceled", "completed"])
def test_a_call_that_has_ended_cannot_be_ended(carrier: Carrier, sdk: Sdk, callee: Callee, status: str) -> None:
    placed = sdk.dial(callee)
    until(lambda: over(carrier))
    with pytest.raises(TwilioRestException) as caught:
        sdk.calls(placed.sid).update(status=status)
    assert (caught.value.status, caught.value.code) == (400, 21220)
