"""What the processes of a local stack find in their environment: what was given, and secrets of this checkout's own."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

from local.people import Credentials, new_people
from local.processes import StartError, port_is_free, write_private

FIRST_PORT = 8000
FROM_NUMBER = "+15005550006"
"""Valid by agreement, and nobody's (https://www.twilio.com/docs/iam/test-credentials)."""

MARK = "MILLRACE_STACK"


class Secrets(TypedDict):
    """What this checkout made up once; kept in `.local/secrets.json` for its owner's eyes only."""

    mark: str
    secret_key: str
    jwt_secret_key: str
    carrier_account_sid: str
    carrier_auth_token: str
    users: list[Credentials]


def load_secrets(folder: Path) -> tuple[Secrets, bool]:
    """This checkout's secrets, and whether its users were made just now. What an older checkout did not know yet is added."""
    kept = folder / "secrets.json"
    found: dict[str, object] = json.loads(kept.read_text()) if kept.exists() else {}
    made = Secrets(
        mark=secrets.token_hex(8),
        secret_key=secrets.token_urlsafe(48),
        jwt_secret_key=secrets.token_urlsafe(48),
        carrier_account_sid=f"AC{secrets.token_hex(16)}",
        carrier_auth_token=secrets.token_hex(16),
        users=new_people(),
    )
    if missing := set(made) - set(found):
        made.update(cast(Secrets, found))
        write_private(kept, json.dumps(made, indent=2))
        return made, "users" in missing
    return cast(Secrets, found), False


def choose_port(given: Mapping[str, str]) -> tuple[int, str]:
    """The port to listen on, and what to say about it.

    Raises StartError where PORT was given and is busy, or is no port.
    """
    wanted = given.get("PORT", "")
    if wanted:
        if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
            raise StartError(f"PORT={wanted} is not a port number.")
        if not port_is_free(int(wanted)):
            raise StartError(f"Port {wanted} is busy. Free it, or give another: PORT={int(wanted) + 1} make run")
        return int(wanted), ""
    for port in range(FIRST_PORT, FIRST_PORT + 200):
        if port_is_free(port):
            return port, "" if port == FIRST_PORT else f"Port {FIRST_PORT} is busy; using {port}."
    raise StartError(f"No free port between {FIRST_PORT} and {FIRST_PORT + 199}; give one: PORT=… make run")


def worker_processes(given: Mapping[str, str]) -> int:
    """How many worker processes WORKERS asks for. Raises StartError where it is no number above 0."""
    wanted = given.get("WORKERS") or "2"
    if not wanted.isdecimal() or int(wanted) < 1:
        raise StartError(f"WORKERS={wanted} is not a number of processes.")
    return int(wanted)


def compose(given: Mapping[str, str], known: Secrets, port: int) -> dict[str, str]:
    """The environment of every process, but for the servers' URLs and the carrier: what was given wins over what we add."""
    base_url = f"http://127.0.0.1:{port}"
    ours = {
        "ENVIRONMENT": "local",
        "SECRET_KEY": known["secret_key"],
        "JWT_SECRET_KEY": known["jwt_secret_key"],
        "PUBLIC_BASE_URL": base_url,
        "PYTHONUNBUFFERED": "1",
    }
    bin_folder = Path(sys.executable).parent
    path = f"{bin_folder}{os.pathsep}{given.get('PATH', os.defpath)}"
    return {**ours, **given, "PATH": path, "PORT": str(port), MARK: known["mark"]}


def needs_simulator(given: Mapping[str, str]) -> bool:
    """Whether nobody gave an account with a real carrier."""
    return not given.get("TWILIO_ACCOUNT_SID")


def with_simulator(given: Mapping[str, str], known: Secrets, url: str) -> dict[str, str]:
    """How a process reaches the carrier simulator at `url`. It is quick, and so are we with it, unless told otherwise."""
    pace = {"CALLS_PER_SECOND": "5", "CALL_RECONCILE_SECONDS": "2", "CALL_SILENT_SECONDS": "5"}
    return {
        **{name: given.get(name) or value for name, value in pace.items()},
        "TWILIO_ACCOUNT_SID": known["carrier_account_sid"],
        "TWILIO_AUTH_TOKEN": known["carrier_auth_token"],
        "TWILIO_FROM_NUMBER": FROM_NUMBER,
        "TWILIO_API_BASE_URL": url,
    }
