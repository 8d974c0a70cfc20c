"""Who places calls at the carrier simulator: the real Twilio SDK, with numbers that bring things about."""

from __future__ import annotations

from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from local.carrier import NUMBERS, Carrier
from local.carrier.book import FINAL
from tests.local.callee import Callee

SID, TOKEN = "AC" + "0" * 32, "a token of the simulator's account"
FROM, TO = "+15005550006", "+12025550123"
EVENTS = ["initiated", "ringing", "answered", "completed"]
COURSE = ["initiated", "ringing", "in-progress", "completed"]


def quick(**more: float) -> dict[str, Any]:
    return {"queue_seconds": 0.02, "ring_seconds": 0.02, "talk_seconds": 0.02, "hang_seconds": 1, **more}


class Sdk(Client):
    """Twilio's client, with its connections closed at the end."""

    def __init__(self, carrier: Carrier, token: str = TOKEN) -> None:
        super().__init__(SID, token)
        self.http_client.timeout = 5
        self.api.base_url = carrier.url

    def dial(self, callee: Callee, to: str = TO, call: str = "one", **more: Any) -> Any:
        return self.calls.create(
            **{
                "to": to,
                "from_": FROM,
                "url": callee.url("/voice", call),
                "status_callback": callee.url("/status", call),
                "status_callback_event": EVENTS,
                **more,
            }
        )


def number(word: str) -> str:
    """The number that brings something about."""
    return "+1202555" + next(digits for digits, found in NUMBERS.items() if found == word)


def over(carrier: Carrier) -> bool:
    """Whether every call has ended, and been told of."""
    return all(call.status in FINAL and not call.outbox and not call.telling for call in carrier.calls.values())


def refused(sdk: Sdk, callee: Callee, to: str = TO, **more: Any) -> tuple[int, int]:
    """Status and code that a dial is refused with."""
    with pytest.raises(TwilioRestException) as caught:
        sdk.dial(callee, to, **more)
    return caught.value.status, caught.value.code
