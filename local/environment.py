"""What the processes of a local stack find in their environment: what was given, and secrets of this checkout's own."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from local.people import Credentials, new_people
from local.processes import StartError, port_is_free, write_private

FIRST_PORT = 8000
MARK = "MILLRACE_STACK"


class Secrets(TypedDict):
    """What this checkout made up once; kept in `.local/secrets.json` for its owner's eyes only."""

    mark: str
    secret_key: str
    jwt_secret_key: str
    users: list[Credentials]


def load_secrets(folder: Path) -> tuple[Secrets, bool]:
    """This checkout's secrets, and whether they were made just now."""
    kept = folder / "secrets.json"
    if kept.exists():
        found: Secrets = json.loads(kept.read_text())
        return found, False
    made = Secrets(
        mark=secrets.token_hex(8),
        secret_key=secrets.token_urlsafe(48),
        jwt_secret_key=secrets.token_urlsafe(48),
        users=new_people(),
    )
    write_private(kept, json.dumps(made, indent=2))
    return made, True


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
    """The environment of every process, but for the servers' URLs: what was given wins over what we add."""
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
