"""The port to Twilio, by the real SDK, against a server that answers whatever it is told to: each answer means one thing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from config import Settings
from jobs.kernel.ports import Busy, Carrier, Denied, Dial, Lost, Placed, Refused, Trouble, Unreached
from local.carrier import Carrier as Simulator
from local.carrier import Faults
from tests.processes import ROOT
from tests.providers import Provider, http
from workers import twilio

SID = "CA" + "7" * 32
DIAL = Dial("+14155550123", "https://us.example.com/status", "https://us.example.com/voice")
MADE = {"sid": SID, "status": "queued", "date_created": "Sat, 31 Jan 2026 09:30:00 +0000"}

Server = Callable[..., Carrier]


def refusal(status: int, code: object) -> bytes:
    return http(status, {"code": code, "message": "The 'To' number +14155550123 is not valid", "status": status})


@pytest.fixture
def answering(base_settings: Settings) -> Iterator[Callable[..., tuple[Carrier, Provider]]]:
    """A port to a provider that gives these answers, one a connection."""
    providers = []

    def made(*answers: bytes | None, **changes: Any) -> tuple[Carrier, Provider]:
        provider = Provider(*answers)
        providers.append(provider)
        given = {"twilio_api_base_url": provider.url, "twilio_timeout_seconds": 0.5} | changes
        carrier = twilio.carrier(base_settings.model_copy(update=given))
        assert carrier is not None
        return carrier, provider

    yield made
    for provider in providers:
        provider.close()


def test_a_call_is_asked_for_with_everything_that_its_callbacks_need(answering: Any, base_settings: Settings) -> None:
    carrier, provider = answering(http(201, MADE), call_machine_detection=True)
    assert carrier.place(DIAL) == Placed(SID, "queued", datetime(2026, 1, 31, 9, 30, tzinfo=UTC))
    (request,) = provider.requests
    assert request.startswith(f"POST /2010-04-01/Accounts/{base_settings.twilio_account_sid}/Calls.json".encode())
    for said in (
        "To=%2B14155550123",
        "From=%2B15005550006",
        "Url=https%3A%2F%2Fus.example.com%2Fvoice",
        "StatusCallback=https%3A%2F%2Fus.example.com%2Fstatus",
        "StatusCallbackEvent=initiated&StatusCallbackEvent=ringing&StatusCallbackEvent=answered&StatusCallbackEvent=completed",
        "MachineDetection=Enable",
    ):
        assert said.encode() in request


ANSWERS: dict[str, tuple[bytes | None, type[Exception]]] = {
    "too many requests": (refusal(429, 20429), Busy),
    "too many requests, by its code": (refusal(400, 20429), Busy),
    "too many requests, of a proxy": (http(429, b"slow down"), Busy),
    "no valid number": (refusal(400, 21211), Refused),
    "a country that is not allowed": (refusal(403, 21215), Refused),
    "a refusal without a code": (http(400, b"<html>"), Refused),
    "a refusal whose code is a word": (refusal(404, "none"), Refused),
    "a refusal as a problem": (http(400, {"type": "x", "title": "x", "status": 400, "code": 21211}), Refused),
    "a wrong token": (refusal(401, 20003), Denied),
    "a suspended account": (refusal(403, 20005), Denied),
    "a failure": (http(500, {"code": 20500, "message": "oops"}), Lost),
    "a failure that looks like a refusal": (http(500, {"type": "x", "title": "x", "status": 400, "code": 1}), Lost),
    "a gateway's failure": (http(503, b"<html>"), Lost),
    "a time-out on the other side": (http(408, b""), Lost),
    "a redirect": (http(307, b"", "Location: http://127.0.0.1:9/\r\n"), Lost),
    "nothing": (b"", Lost),
    "no HTTP": (b"hello\r\n\r\n", Lost),
    "half an answer": (http(201, MADE)[:-10], Lost),
    "a body that is no JSON": (http(201, b"{"), Lost),
    "a body that is no object": (http(201, [1]), Lost),
    "null": (http(201, None), Lost),
    "an object that names no call": (http(201, {"status": "queued"}), Lost),
    "a name that is none": (http(201, MADE | {"sid": "CA\u0000"}), Lost),
    "a name beyond all measure": (http(201, MADE | {"sid": "C" * 100_000}), Lost),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", Lost),
    "no answer in time": (None, Lost),
}


@pytest.mark.parametrize(("answer", "meaning"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_means_one_thing_and_is_asked_for_once(
    answering: Any, answer: bytes | None, meaning: type[Exception]
) -> None:
    carrier, provider = answering(answer, http(201, MADE))
    with pytest.raises((Trouble, Refused)) as raised:
        carrier.place(DIAL)
    assert type(raised.value) is meaning
    assert len(provider.requests) == 1
    assert "4155550123" not in getattr(raised.value, "reason", "") + str(raised.value)


def test_a_connection_that_is_refused_is_known_from_an_answer_that_is_lost(answering: Any) -> None:
    carrier, provider = answering()
    provider.close()
    with pytest.raises(Unreached):
        carrier.place(DIAL)
    with pytest.raises(Unreached):
        answering(twilio_api_base_url="http://no-such-host.invalid")[0].place(DIAL)


def test_no_connection_is_used_twice(answering: Any) -> None:
    """A kept one that the other side closes meanwhile would look like an answer that was lost."""
    carrier, provider = answering(*[http(201, MADE)] * 3)
    for _ in range(3):
        carrier.place(DIAL)
    assert len(provider.requests) == 3


def test_calls_are_listed_from_a_time_on_and_those_that_wait_too(answering: Any) -> None:
    early = MADE | {"sid": "CA1", "date_created": "Sat, 31 Jan 2026 09:00:00 +0000"}
    waiting = MADE | {"sid": "CA2", "start_time": None}
    carrier, provider = answering(http(200, {"calls": [waiting, early], "next_page_uri": None}))
    found = carrier.find("+14155550123", datetime(2026, 1, 31, 9, 15, tzinfo=UTC))
    assert [call.sid for call in found] == ["CA2"]
    assert b"To=%2B14155550123" in provider.requests[0]
    assert b"From=%2B15005550006" in provider.requests[0]


@pytest.mark.parametrize(
    ("word", "status"),
    [("in-progress", "in_progress"), ("no-answer", "no_answer"), ("canceled", "canceled"), ("new-fangled", "queued")],
)
def test_a_status_is_told_in_our_words(answering: Any, word: str, status: str) -> None:
    carrier, _ = answering(http(200, MADE | {"status": word, "duration": "12", "answered_by": "human"}))
    assert carrier.fetch(SID) == Placed(SID, status, datetime(2026, 1, 31, 9, 30, tzinfo=UTC), 12, "human")


def test_a_call_that_the_carrier_does_not_know_is_none_and_a_wrong_token_says_nothing_of_it(answering: Any) -> None:
    carrier, _ = answering(refusal(404, 20404), refusal(401, 20003))
    assert carrier.fetch(SID) is None
    with pytest.raises(Denied):
        carrier.fetch(SID)


@pytest.mark.parametrize(
    "odd", [{"duration": "99999999999"}, {"duration": "-5"}, {"duration": {}}, {"answered_by": {}}]
)
def test_what_a_call_can_do_without_is_left_out_where_it_cannot_be_read(answering: Any, odd: dict[str, Any]) -> None:
    carrier, _ = answering(http(201, MADE | odd))
    placed = carrier.place(DIAL)
    assert (placed.sid, placed.duration, placed.answered_by) == (SID, None, None)


@pytest.mark.parametrize(
    ("answer", "well"),
    [
        (http(200, {"calls": [], "next_page_uri": None}), True),
        (refusal(404, 20404), True),
        (refusal(401, 20003), False),
        (refusal(429, 20429), False),
        (http(503, b""), False),
    ],
)
def test_a_probe_sees_whether_anybody_answers(answering: Any, answer: bytes, well: bool) -> None:
    carrier, _ = answering(answer)
    if well:
        carrier.check()
    else:
        with pytest.raises(Trouble):
            carrier.check()


LOUD = """
from datetime import UTC, datetime
import logging
from config import Settings
from jobs.kernel import log
from jobs.kernel.ports import Dial
from workers import twilio
settings = Settings.from_env()
log.configure(settings)
carrier = twilio.carrier(settings)
carrier.place(Dial("+14155550123", "https://us.example.com/status", "https://us.example.com/voice"))
carrier.find("+14155550123", datetime(2026, 1, 31, tzinfo=UTC))
logging.getLogger("somebody").debug("seen")
"""
"""In a process of its own: loggers are made once, and keep where they write to."""


def test_what_is_sent_is_not_logged_at_whatever_level(base_settings: Settings) -> None:
    provider = Provider(http(201, MADE), http(200, {"calls": [], "next_page_uri": None}))
    told = {
        "ENVIRONMENT": "local",
        "LOG_LEVEL": "DEBUG",
        "TWILIO_ACCOUNT_SID": base_settings.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": base_settings.twilio_auth_token,
        "TWILIO_FROM_NUMBER": base_settings.twilio_from_number,
        "TWILIO_API_BASE_URL": provider.url,
    }
    done = subprocess.run(
        [sys.executable, "-c", LOUD], env=os.environ | told, cwd=ROOT, capture_output=True, text=True, check=True
    )
    provider.close()
    assert len(provider.requests) == 2
    assert "seen" in done.stdout
    assert "4155550123" not in done.stdout + done.stderr


def test_a_proxy_of_the_environment_is_not_asked(answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert answering(http(201, MADE))[0].place(DIAL).sid == SID


def test_threads_get_their_own_answers(base_settings: Settings) -> None:
    dials = [Dial(f"+1415555{number}", "http://127.0.0.1:9/s", "http://127.0.0.1:9/v") for number in range(2000, 2040)]
    account, token = base_settings.twilio_account_sid, base_settings.twilio_auth_token
    with Simulator(account, token, faults=Faults(mute=1)) as simulator, ThreadPoolExecutor(8) as threads:
        carrier = twilio.carrier(base_settings.model_copy(update={"twilio_api_base_url": simulator.url}))
        assert carrier is not None
        placed = list(threads.map(carrier.place, dials))
    assert {dial.to: call.sid for dial, call in zip(dials, placed, strict=True)} == {
        dial.to: dial.sid for dial in simulator.dials
    }


def test_without_an_account_there_is_no_carrier() -> None:
    assert twilio.carrier(Settings(environment="local")) is None
