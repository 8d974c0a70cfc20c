"""Who did what at the command line: a log line of each action, as the API writes one, but to standard error."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime

import click

from jobs.kernel.log import dumps
from models.views import instant


def note(event: str, **more: object) -> None:
    """Log what was done, and by whom. `more`: what it was done with; nothing that a log must not hold."""
    line = {"event": event, "by": login_name(), **more, "level": "info", "timestamp": instant(datetime.now(UTC))}
    click.echo(dumps(line), err=True)


def login_name() -> str:
    """The operating system's name for whoever signed in here; where nobody did, for whoever this runs as."""
    try:
        return os.getlogin()
    except OSError:  # no terminal
        pass
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return f"uid {os.getuid()}"
