"""Twilio as our carrier: the one place where its SDK places calls, and where its answers become ours (`jobs.kernel.ports`).

Each request has a connection of its own, so that a refused one is known from one that was cut off after it was asked;
and is sent once. What is not clearly a yes or a no is Lost: nobody knows whether a telephone rings.

Sources: https://www.twilio.com/docs/voice/api/call-resource, https://www.twilio.com/docs/api/errors
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http import HttpClient
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client
from urllib3.exceptions import NewConnectionError

from config import Settings
from jobs.kernel.ports import Busy, Carrier, Denied, Dial, Lost, Placed, Refused, Trouble, Unreached
from models.call import Status

CONNECT_SECONDS = 3.05
EVENTS = ["initiated", "ringing", "answered", "completed"]
MOST_LISTED = 100
TOO_MANY = 20429
DENIALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
ACCOUNT = (20003, 20005, 20006, 20107)
"""Codes of an account that is wrong, suspended or not allowed to do this at all, whatever number it is about."""

NAME, SECONDS, WORD = re.compile(r"[A-Za-z0-9_-]{1,64}"), re.compile(r"[0-9]{1,7}"), re.compile(r"[a-z_]{1,32}")
SPELLED = {"in-progress": Status.IN_PROGRESS, "no-answer": Status.NO_ANSWER}

REASONS = {
    20008: "Test credentials cannot ask for this.",
    13223: "The number is not one that can be called.",
    13224: "The number is not valid.",
    21210: "The number that calls come from is not verified at the provider.",
    21211: "The number is not valid.",
    21212: "The number that calls come from is not valid at the provider.",
    21214: "The number cannot be reached.",
    21215: "The provider's account may not call numbers of this country.",
    21216: "The provider's account may not call this number.",
    21217: "The number does not seem to be valid.",
    21219: "The number is not verified, as a trial account at the provider needs.",
    21220: "The call has ended.",
}
"""What the provider's codes mean to people; its own sentences name numbers."""


def carrier(settings: Settings) -> Carrier | None:
    """The carrier of these settings; None where they name no account."""
    return Twilio(settings) if settings.twilio_account_sid else None


class Twilio:
    """The port to Twilio, or to whatever answers like it at TWILIO_API_BASE_URL. Any number of threads share it."""

    def __init__(self, settings: Settings) -> None:
        self._number = settings.twilio_from_number
        self._detection = "Enable" if settings.call_machine_detection else None
        client = Client(
            settings.twilio_account_sid,
            settings.twilio_auth_token,
            http_client=EachThreads(settings.twilio_timeout_seconds),
            environment={"-": "-"},  # it would look for an edge and a region in the process's own
        )
        client.api.base_url = settings.twilio_api_base_url
        self._calls = client.api.v2010.account.calls  # made here: it takes long, and a dial has a lease that runs

    def place(self, dial: Dial) -> Placed:
        more = {"machine_detection": self._detection} if self._detection else {}
        with _answers():
            return _placed(
                self._calls.create(
                    to=dial.to,
                    from_=self._number,
                    url=dial.voice_url,
                    method="POST",
                    status_callback=dial.status_url,
                    status_callback_event=EVENTS,
                    status_callback_method="POST",
                    **more,
                )
            )

    def find(self, to: str, since: datetime) -> list[Placed]:
        """The newest are listed first; a filter on when they started would leave out those that wait."""
        with _answers():
            found = [_placed(call) for call in self._calls.list(to=to, from_=self._number, limit=MOST_LISTED)]
        return [call for call in found if call.created_at is None or call.created_at >= since]

    def fetch(self, sid: str) -> Placed | None:
        try:
            with _answers():
                return _placed(self._calls(sid).fetch())
        except Denied:
            raise
        except Refused:
            return None

    def end(self, sid: str, status: str) -> Placed:
        with _answers():
            return _placed(self._calls(sid).update(status=status))

    def check(self) -> None:
        """A page of one call. To be told that there is no such page is an answer too."""
        try:
            with _answers():
                self._calls.list(limit=1)
        except Denied:
            raise
        except Refused:
            return


class Connections(TwilioHttpClient):
    """The SDK's way to HTTP, without retries, cookies, connections kept open, or a log of what is sent. Raises Trouble for
    whatever is no answer, so that the SDK reads nothing but answers."""

    def __init__(self, timeout: float) -> None:
        silent = logging.getLogger("twilio.silent")
        silent.disabled = True
        super().__init__(logger=silent)
        self.timeout = (CONNECT_SECONDS, timeout)  # handed to requests, which takes both
        if self.session is not None:
            self.session.headers["Connection"] = "close"
            self.session.trust_env = False  # TWILIO_API_BASE_URL is the way to a proxy
            self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def request(self, *args: Any, **named: Any) -> Response:
        try:
            response = super().request(*args, **named)
        except requests.ConnectTimeout as error:
            raise Unreached from error
        except requests.ConnectionError as error:
            raise (Unreached if _never_connected(error) else Lost) from error
        except requests.RequestException as error:
            raise Lost from error
        finally:
            if self.session is not None:
                self.session.close()  # not every server says that it closes what it was asked to close
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise Busy
        if not (200 <= response.status_code < 300 or 400 <= response.status_code < 500) or (
            response.status_code == HTTPStatus.REQUEST_TIMEOUT
        ):
            raise Lost
        return response


class EachThreads(HttpClient):
    """Connections of each thread's own: the SDK's keep the last answer in themselves, before they hand it on."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._local = threading.local()

    def request(self, *args: Any, **named: Any) -> Response:
        if not hasattr(self._local, "connections"):
            self._local.connections = Connections(self._timeout)
        answer: Response = self._local.connections.request(*args, **named)
        return answer


def _placed(call: Any) -> Placed:
    """Raises TypeError or ValueError for what is no call; what a call may do without, and cannot be read, is left out."""
    if not isinstance(call.sid, str) or not NAME.fullmatch(call.sid) or not isinstance(call.status, str):
        raise TypeError("an answer that names no call")
    duration, answered_by = str(call.duration), str(call.answered_by)
    return Placed(
        sid=call.sid,
        status=_status(call.status),
        created_at=call.date_created,
        duration=int(duration) if SECONDS.fullmatch(duration) else None,
        answered_by=answered_by if WORD.fullmatch(answered_by) and call.answered_by else None,
    )


def _status(word: str) -> Status:
    """In our words. One that we do not know is no reason to lose a call: it has been taken."""
    try:
        return SPELLED.get(word) or Status(word)
    except ValueError:
        return Status.QUEUED


@contextmanager
def _answers() -> Iterator[None]:
    """What the SDK raises, in the port's words."""
    try:
        yield
    except TwilioException as refusal:
        raise _of_refusal(refusal) from refusal
    except (ValueError, TypeError, AttributeError, KeyError) as unreadable:
        raise Lost from unreadable


def _of_refusal(refusal: TwilioException) -> Trouble | Refused:
    """What an answer of 4xx means. Of a list, the SDK hands it on as it came."""
    if isinstance(refusal, TwilioRestException | TwilioServiceException):
        status, code = refusal.status, refusal.code
    else:
        response = next((part for part in refusal.args if isinstance(part, Response)), None)
        if response is None:
            return Lost()
        status = code = response.status_code
    if code == TOO_MANY:
        return Busy()
    code = code if isinstance(code, int) else status
    if status in DENIALS or code in ACCOUNT:
        return Denied(code, f"The provider does not accept our account (its code {code}).")
    return Refused(code, REASONS.get(code, f"The provider refused the call (its code {code})."))


def _never_connected(error: requests.ConnectionError) -> bool:
    """Whether no connection was made at all: nobody heard what was asked."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError)
