"""Where the carrier tells what becomes of a call, and asks what to say: URLs of ours, each for one call and signed."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlencode
from uuid import UUID

from config import Settings
from models.views import ident

STATUS = "/v1/webhooks/twilio/status"
VOICE = "/v1/webhooks/twilio/voice"


def url(settings: Settings, path: str, call_id: UUID) -> str:
    """The absolute URL of a path, for one call: `?call=<id>&t=<hmac>`."""
    query = urlencode({"call": ident(call_id), "t": _mac(settings, call_id)})
    return f"{settings.public_base_url}{path}?{query}"


def call_in(settings: Settings, call: str | None, mac: str | None) -> UUID | None:
    """The call that a URL was made for; None where it names none, or we have not made it."""
    try:
        call_id = UUID(call or "")
    except ValueError:
        return None
    return call_id if hmac.compare_digest(_mac(settings, call_id).encode(), (mac or "").encode()) else None


def _mac(settings: Settings, call_id: UUID) -> str:
    return hmac.digest(settings.secret_key.encode(), b"call" + call_id.bytes, hashlib.sha256).hex()[:32]
