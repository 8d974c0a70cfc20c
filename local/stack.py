"""`python -m local.stack run|demo|up|stop|status|clean`: the whole system on this machine, for as long as it is wanted."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from local.account import Account, discard_copies
from local.demo import demonstrate
from local.environment import load_secrets
from local.postgres import Postgres
from local.processes import StartError, end, make_passable, wait_until
from local.record import Busy, Description, Record
from local.supervisor import STOP_WITHIN, Supervisor

ROOT = Path(__file__).resolve().parent.parent
RECORD = Record(ROOT / ".local")
UP_WITHIN = 240
SIMULATOR = "carrier simulator"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Ctrl-C, a request to end, or a closed terminal."""


def say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def started() -> Iterator[tuple[Supervisor, Description]]:
    """A stack that is ready, and stopped when the block ends, however it ends."""
    with RECORD.lock():
        say_people()
        supervisor = Supervisor(ROOT, os.environ, say)
        try:
            yield supervisor, supervisor.start()
            say("Stopping.")
        finally:
            for signum in SIGNALS:  # from here on it ends by itself, within half a minute
                signal.signal(signum, signal.SIG_IGN)
            supervisor.stop()


def run() -> int:
    """start, show the demo, stay until Ctrl-C"""
    with started() as (supervisor, description):
        as_expected = demonstrate(description)
        say_where(description)
        say("\nUp until Ctrl-C." if as_expected else "\nNot all came out as expected. Up until Ctrl-C.")
        with suppress(Interrupted):
            supervisor.watch()
    return 0


def demo() -> int:
    """show the demo on the stack that is up, or else on one started for it"""
    description = RECORD.description()
    if description:
        say(f"Using the stack that is up at {description['base_url']}")
        return 0 if demonstrate(description) else 1
    with started() as (_, description):
        return 0 if demonstrate(description) else 1


def up() -> int:
    """start in the background, return when it is ready"""
    description = RECORD.description()
    if description:
        say("Already up.")
        say_where(description)
        return 0
    make_passable(RECORD.folder)
    say_people()
    log = RECORD.folder / "stack.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "local.stack", "serve"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: server.poll() is not None or RECORD.description() is not None, within=UP_WITHIN, every=0.1)
    except Interrupted:
        server.terminate()
        server.wait()
        raise
    description = RECORD.description()
    said = log.read_text(errors="replace").strip()
    if said:
        say(said)
    if server.poll() is not None or not description:
        return 1
    say_where(description)
    return 0


def serve() -> int:
    """what `up` leaves in the background"""
    with started() as (supervisor, _), suppress(Interrupted):
        supervisor.watch()
    return 0


def stop() -> int:
    """end the stack that is up, and whatever a killed one left behind"""
    if not RECORD.folder.exists():
        say("Nothing to stop.")
        return 0
    if RECORD.is_locked():
        supervisor = RECORD.supervisor()
        if supervisor:
            end([supervisor], within=STOP_WITHIN + 40)
    with RECORD.lock():
        Supervisor(ROOT, {}, say).stop()
    say("Stopped.")
    return 0


def status() -> int:
    """say what runs, and where"""
    description = RECORD.description()
    if not description:
        say("Not up, or not ready yet." if RECORD.is_locked() else "Not up.")
        return 0
    for entry in RECORD.entries():
        name = SIMULATOR if entry.name == "carrier" else entry.name
        say(f"{name:<18}{entry.pid:>8}  {'running' if entry.process() else 'ended'}")
    say_where(description)
    return 0


def clean() -> int:
    """stop, and delete all local data"""
    stop()
    if RECORD.folder.exists():
        Postgres(RECORD.folder / "postgres").remove()
        discard_copies(Account.unprivileged())
        shutil.rmtree(RECORD.folder)
    return 0


def say_people() -> None:
    """The demo users' passwords, once, when they are made."""
    known, fresh = load_secrets(RECORD.folder)
    if fresh:
        say("Demo users of this checkout, shown this once (and kept in .local/stack.json while the stack is up):")
        for user in known["users"]:
            say(f"  {user['role']:<6} {user['email']:<20} {user['password']}")


def say_where(description: Description) -> None:
    """The addresses, and lines to paste into a shell."""
    base_url, carrier = description["base_url"], description.get("carrier")
    calls = f"{SIMULATOR} at {carrier['url']}: nobody is phoned" if carrier else "placed by the account that was given"
    stack_file = RECORD.folder / "stack.json"
    login = (
        f'import json; u = json.load(open({str(stack_file)!r}))["users"][1]; '
        'print(json.dumps({"email": u["email"], "password": u["password"]}))'
    )
    reading = 'import json, sys; print(json.load(sys.stdin)["access_token"])'
    python = shlex.quote(sys.executable)
    as_json = "-H 'Content-Type: application/json'"
    bearer = '-H "Authorization: Bearer $TOKEN"'
    order = '{"services": ["123"], "total_fee": "100.00", "customer_id": "\'$(date +%s)\'"}'
    say(f"""
  API      {base_url}/v1
  docs     {base_url}/docs
  OpenAPI  {base_url}/openapi.json
  health   {base_url}/readyz
  calls    {calls}
  logs     {RECORD.folder / "logs"}
  details  {stack_file}

To paste:
  LOGIN=$({python} -c {shlex.quote(login)})
  TOKEN=$(curl -s {base_url}/v1/auth/login {as_json} -d "$LOGIN" | {python} -c {shlex.quote(reading)})
  curl -s {base_url}/v1/orders {bearer} {as_json} -H 'Prefer: wait=5' -d '{order}'
  curl -s {base_url}/v1/orders {bearer}""")


def interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted


def main() -> int:
    """Carry out the command named in the arguments; its exit code."""
    commands = {command.__name__: command for command in (run, demo, up, stop, status, clean, serve)}
    parser = argparse.ArgumentParser(prog="python -m local.stack", description=__doc__)
    parser.add_argument("command", choices=commands)
    os.umask(0o077)
    for signum in SIGNALS:
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:  # nohup is heeded
            signal.signal(signum, interrupt)
    try:
        return commands[parser.parse_args().command]()
    except Interrupted:
        return 130
    except Busy:
        say("A stack of this checkout is up already, or just coming up: see `make status`, `make stop`.")
    except StartError as error:
        say(str(error))
    except PermissionError as error:
        say(f"{error}: was this checkout's .local made by another account?")
    return 1


if __name__ == "__main__":
    sys.exit(main())
