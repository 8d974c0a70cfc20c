"""The part of Twilio's Calls API that its SDK asks for: place, list, fetch and end calls
(https://www.twilio.com/docs/voice/api/call-resource)."""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from local.carrier.book import Book, Call, Hook, Order, Request
from local.carrier.faults import ACCEPTED, EVERYWHERE, Chance
from local.carrier.line import Line
from local.carrier.pages import listed, shown

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
INVALID = "+15005550001"
"""Invalid by agreement (https://www.twilio.com/docs/iam/test-credentials)."""

Form = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `credentials`: its Authorization header."""

    method: str
    target: str
    credentials: str
    form: Form


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer, `late` or not; status 0: nothing at all. `content`: a JSON object, or text that is none."""

    status: int
    content: dict[str, object] | str = ""
    late: bool = False


class Error(Exception):
    """An answer that says no."""

    def __init__(self, status: int, code: int, message: str) -> None:
        self.answer = Answer(
            status,
            {
                "code": code,
                "message": message,
                "more_info": f"https://www.twilio.com/docs/errors/{code}",
                "status": status,
            },
        )
        super().__init__(message)


class Api:
    """Answers requests. `requests`: all that were received."""

    def __init__(self, account_sid: str, auth_token: str, book: Book, line: Line, chance: Chance) -> None:
        self.requests: list[Request] = []
        self._account_sid = account_sid
        self._credentials = "Basic " + b64encode(f"{account_sid}:{auth_token}".encode()).decode()
        self._book = book
        self._line = line
        self._chance = chance

    def answer(self, asked: Asked) -> Answer:
        kind, sid = self._route(asked)
        try:
            self._admit(asked)
            answer = self._carry_out(kind, sid, asked)
        except Error as error:
            answer = error.answer
        self.requests.append(Request(datetime.now(UTC), asked.method, kind, answer.status))
        return answer

    def _route(self, asked: Asked) -> tuple[str, str]:
        """What is asked for, and of which call."""
        path = urlsplit(asked.target).path
        found = re.fullmatch(rf"/2010-04-01/Accounts/{self._account_sid}/Calls(?:/(\w+))?\.json", path)
        if not found or asked.method not in ("GET", "POST"):
            return "other", ""
        if found[1]:
            return ("fetch" if asked.method == "GET" else "end"), found[1]
        return ("list" if asked.method == "GET" else "dial"), ""

    def _admit(self, asked: Asked) -> None:
        """Raises Error for faults of the whole service, and for strangers."""
        fault = self._chance.of_any_request()
        if fault:
            raise _error_of(fault)
        if not hmac.compare_digest(asked.credentials.encode(), self._credentials.encode()):
            raise Error(401, 20003, "These credentials are not the account's.")

    def _carry_out(self, kind: str, sid: str, asked: Asked) -> Answer:
        if kind == "dial":
            return self._dial(asked.form)
        if kind == "list":
            return self._list(_query(asked.target))
        call = self._book.calls.get(sid)
        if not call:
            raise Error(404, 20404, "There is nothing of that name.")
        if kind == "end":
            self._end(call, _one(asked.form, "Status"))
        return Answer(200, shown(call, self._account_sid))

    def _list(self, query: dict[str, str]) -> Answer:
        try:
            return Answer(200, listed(self._book.newest_first(), self._account_sid, query))
        except ValueError:
            raise Error(400, 20001, "StartTime should be a date, or a time in ISO 8601.") from None

    def _dial(self, form: Form) -> Answer:
        order = _order(form)
        fault = self._chance.of_a_dial(order.to, order.call)
        if fault == "lose":
            return Answer(0)
        if fault and fault not in ACCEPTED:
            raise _error_of(fault)
        faults = self._chance.of_callbacks(order.to)
        call = self._book.accept(order, faults | {fault} if fault else faults)
        taken = shown(call, self._account_sid)
        self._line.take(call)
        if fault == "drop":
            return Answer(0)
        if fault == "error":
            raise Error(500, 20500, "Something went wrong here.")
        return Answer(201, '{"sid": ' if fault == "garbled" else taken, late=fault == "hang")

    def _end(self, call: Call, status: str) -> None:
        if status not in ("canceled", "completed"):
            raise Error(400, 20001, "Status should be canceled or completed.")
        if not self._line.end(call, status):
            raise Error(400, 21220, "The call has ended.")


def _error_of(fault: str) -> Error:
    if fault in EVERYWHERE:
        limited = fault == "limit"
        return Error(429, 20429, "Too many requests.") if limited else Error(503, 20503, "Out of service.")
    return Error(400, 21215, "Calls to where this number belongs are not allowed.")


def _order(form: Form) -> Order:
    """Raises Error for what cannot be called. Twilio's messages name the number, too."""
    to, sender, url = _one(form, "To"), _one(form, "From"), _one(form, "Url")
    if not E164.fullmatch(to) or to == INVALID:
        raise Error(400, 21211, f"To: {to} is not a valid phone number.")
    if not E164.fullmatch(sender) or sender == INVALID:
        raise Error(400, 21212, f"From: {sender} is not a valid phone number.")
    if not _is_url(url):
        raise Error(400, 21205, "Url: is not a valid URL.")
    status_url = _one(form, "StatusCallback")
    if status_url and not _is_url(status_url):
        raise Error(400, 21609, "StatusCallback: is not a valid URL.")
    return Order(
        to=to,
        sender=sender,
        call=_one(parse_qs(urlsplit(status_url).query), "call"),
        voice_hook=Hook(url, _one(form, "Method") or "POST"),
        status_hook=Hook(status_url, _one(form, "StatusCallbackMethod") or "POST") if status_url else None,
        events=frozenset(form.get("StatusCallbackEvent", ["completed"])),
        detect_machines=bool(_one(form, "MachineDetection")),
    )


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _one(form: Form, name: str) -> str:
    return form.get(name, [""])[0]


def _query(target: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
