"""Requests as Twilio sends them: signed by its own SDK."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator
from werkzeug.datastructures import MultiDict

from config import Settings

HEADER = "X-Twilio-Signature"
FORM = "application/x-www-form-urlencoded"
SID = "CA" + "0123456789abcdef" * 2
NUMBER = "+15005550001"
NEWS = {
    "CallSid": SID,
    "CallStatus": "in-progress",
    "SequenceNumber": "2",
    "Timestamp": "Sat, 31 Jan 2026 10:30:00 +0100",
    "From": "+15005550006",
    "To": NUMBER,
    "AccountSid": "AC" + "0" * 32,
}


def form(fields: dict[str, Any]) -> str:
    """The body, or query, of fields; a list is what is repeated."""
    return urlencode(fields, doseq=True)


def signature(settings: Settings, url: str, fields: dict[str, Any] | None = None) -> str:
    made: str = RequestValidator(settings.twilio_auth_token).compute_signature(url, MultiDict(fields or {}))
    return made


def signed(
    settings: Settings, method: str, path: str, fields: dict[str, Any] = NEWS, *, query: str = "", base: str = ""
) -> dict[str, Any]:
    """What a test client is given to send this to a path; of a GET the fields go into the query. `base`: another public
    URL than the settings' own."""
    posted = method == "POST"
    whole = query if posted else "&".join(filter(None, (query, form(fields))))
    url = (base or settings.public_base_url) + path + (f"?{whole}" if whole else "")
    made = signature(settings, url, fields if posted else None)
    given = {"headers": {HEADER: made}, "query_string": whole}
    return given | ({"data": form(fields), "content_type": FORM} if posted else {})
