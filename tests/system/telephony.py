"""A carrier for a stack: the simulator, and settings of the account that it knows."""

from __future__ import annotations

import secrets
from typing import Any

from local.carrier import Carrier

ACCOUNT, TOKEN, NUMBER = f"AC{secrets.token_hex(16)}", secrets.token_hex(16), "+15005550006"


def simulator(**more: Any) -> Carrier:
    """A carrier that is not started yet. `more`: what it takes."""
    return Carrier(ACCOUNT, TOKEN, **more)


def account_at(carrier: Carrier) -> dict[str, Any]:
    """Settings of a stack whose calls go to it."""
    return {
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        "twilio_from_number": NUMBER,
        "twilio_api_base_url": carrier.url,
    }
