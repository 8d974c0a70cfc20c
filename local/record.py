"""What runs, written down: for those who use the stack, and for a later run that has to clear up after this one."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

import psutil

from local.people import Credentials
from local.processes import make_passable, same_process, write_private


class Busy(Exception):
    """Another stack of this checkout is up."""


class Listed(TypedDict):
    """A process as `.local/stack.json` names it."""

    name: str
    pid: int


class Simulator(TypedDict):
    """The carrier simulator: where it listens, and the file with a line for each call it accepted."""

    url: str
    ledger: str


class Description(TypedDict):
    """`.local/stack.json`: all that a client or a test needs to use the running stack."""

    base_url: str
    database_url: str
    read_database_url: str
    write_database_url: str
    redis_url: str
    carrier: Simulator | None
    users: list[Credentials]
    processes: list[Listed]


@dataclass(frozen=True)
class Entry:
    """A started process; `created` (seconds since the epoch) tells it from a later one with the same id."""

    name: str
    pid: int
    created: float

    @classmethod
    def of(cls, name: str, pid: int) -> Entry:
        return cls(name, pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process, if it still lives."""
        return same_process(self.pid, self.created)


class Record:
    """The files in `.local` that describe one stack; `lock` keeps a second one out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._description = folder / "stack.json"
        self._entries = folder / "processes.json"
        self._lock = folder / "lock"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this checkout's stack for as long as the block runs. Raises Busy when another process does."""
        make_passable(self.folder)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy from None
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether a stack is up, coming up or going down."""
        try:
            with self.lock():
                return False
        except Busy:
            return True

    def entries(self) -> list[Entry]:
        """What was started, the supervisor first; empty when nothing was."""
        try:
            return [Entry(**entry) for entry in json.loads(self._entries.read_text())]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def supervisor(self) -> psutil.Process | None:
        """The process that holds the stack, while it lives."""
        return next((entry.process() for entry in self.entries() if entry.name == "supervisor"), None)

    def write_entries(self, entries: list[Entry]) -> None:
        write_private(self._entries, json.dumps([asdict(entry) for entry in entries], indent=2))

    def description(self) -> Description | None:
        """The stack that is ready, if one is."""
        try:
            found: Description = json.loads(self._description.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found if self.is_locked() else None

    def write_description(self, description: Description) -> None:
        write_private(self._description, json.dumps(description, indent=2) + "\n")

    def forget(self) -> None:
        """The stack is no longer ready."""
        self._description.unlink(missing_ok=True)
