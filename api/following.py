"""What is followed in one process, and the one who looks for it, for all who follow it: without a query of their own.

The watcher asks for all of one sort at once, and wakes those who follow what has changed: nothing is lost because nobody
told of it. Who hears of something sooner lets it be looked at at once (`stir`). Under gevent the watcher and its followers
are greenlets; under plain threads they work alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import monotonic
from typing import NamedTuple
from uuid import UUID

import structlog
from structlog.contextvars import clear_contextvars

from api import presence

LOOK = 0.5
"""Seconds between looks at all that is followed: a look at 400 jobs and 100 calls that have not changed takes about 4 ms."""

PRESENT = 1.0
"""Seconds between looks at who is still there."""

log = structlog.get_logger(__name__)


class Snapshot(NamedTuple):
    """Something as it is at one version. `data`: JSON, in one line. `final`: it changes no more. `mark`: whatever helps who
    looks for it to see that it has not changed."""

    version: int
    data: bytes
    final: bool
    mark: bytes = b""


Look = Callable[[Mapping[UUID, Snapshot]], Mapping[UUID, Snapshot | None]]
"""Asked for what was seen last: those of it that may be at a later version by now, None for what is no more."""


class Listener:
    """One who follows something. `connection`: the descriptor of their socket, where it is known. `gone`: they have closed it."""

    def __init__(self, connection: int | None = None) -> None:
        self.connection = connection
        self.gone = False
        self._woken = Event()

    def wake(self) -> None:
        self._woken.set()

    def wait(self, seconds: float) -> bool:
        """Whether they were woken within so many seconds."""
        woken = self._woken.wait(seconds)
        self._woken.clear()
        return woken


@dataclass(slots=True)
class Followed:
    """Something that is followed, as it was last seen, and those who follow it. `gone`: it is no more."""

    latest: Snapshot
    listeners: list[Listener] = field(default_factory=list)
    gone: bool = False

    def renew(self, snapshot: Snapshot) -> None:
        """It was seen again; whoever follows it hears of what is later."""
        later = snapshot.version > self.latest.version
        if later or snapshot.version == self.latest.version:
            self.latest = snapshot
        if later:
            self.wake()

    def wake(self) -> None:
        for listener in self.listeners:
            listener.wake()


class Following:
    """What is followed of one sort. The watcher starts with the first who follows something, so after any fork, and ends with
    the last."""

    def __init__(self, look: Look, announce: Callable[[UUID], bool]) -> None:
        """announce: told of each thing that begins to be followed, from when on it may be stirred;
        false where it may have changed before. It raises nothing."""
        self._look, self._announce = look, announce
        self._lock = Lock()
        self._followed: dict[UUID, Followed] = {}
        self._stirred: set[UUID] = set()
        self._stir = Event()
        self._watching = False
        self.ending: Callable[[], bool] = bool
        """Whether the server has been told to stop; that it has, nobody says before the first who follows something."""

    def join(self, key: UUID, first: Snapshot, listener: Listener) -> Followed:
        """From now on the listener is woken when `key`, which was seen to be `first`, has changed."""
        with self._lock:
            begins = key not in self._followed
            followed = self._followed.setdefault(key, Followed(first))
            followed.renew(first)
            followed.listeners.append(listener)
            if followed.latest.version > first.version:
                listener.wake()
            if not self._watching:
                self._watching = True
                Thread(target=self._watch, name="following", daemon=True).start()
        if begins and not self._announce(key):
            self.stir(key)
        return followed

    def leave(self, key: UUID, followed: Followed, listener: Listener) -> None:
        with self._lock:
            followed.listeners.remove(listener)
            if not followed.listeners and self._followed.get(key) is followed:
                del self._followed[key]

    def stir(self, key: UUID) -> None:
        """It may have changed; it is looked at at once, if it is followed."""
        with self._lock:
            if key in self._followed:
                self._stirred.add(key)
                self._stir.set()

    def _watch(self) -> None:
        clear_contextvars()  # those of the request that came first
        away, due, present = False, monotonic() + LOOK, monotonic() + PRESENT
        while self._goes_on():
            self._stir.wait(max(due - monotonic(), 0.0))
            now = monotonic()
            known = self._take_stirred() if now < due else self._take_all()
            due = due if now < due else now + LOOK
            try:
                if now >= present:
                    present = now + PRESENT
                    self._let_go()
                self._renew(self._look(known) if known else {})
                away = False
            except Exception as error:  # noqa: BLE001 - whatever it is, those who follow go on waiting
                if not away:
                    log.warning("followed_not_looked_for", error=type(error).__name__)
                away = True

    def _goes_on(self) -> bool:
        """Whether anything is followed; else the watcher ends, and the next who follows something starts another."""
        with self._lock:
            if self.ending():
                for followed in self._followed.values():
                    followed.wake()
            self._watching = bool(self._followed)
            return self._watching

    def _take_all(self) -> dict[UUID, Snapshot]:
        """All that is followed, as it was last seen."""
        with self._lock:
            self._stirred.clear()
            self._stir.clear()
            return {key: followed.latest for key, followed in self._followed.items()}

    def _take_stirred(self) -> dict[UUID, Snapshot]:
        """What has been stirred since the last look, as it was last seen."""
        with self._lock:
            stirred = {key: self._followed[key].latest for key in self._stirred if key in self._followed}
            self._stirred.clear()
            self._stir.clear()
            return stirred

    def _renew(self, seen: Mapping[UUID, Snapshot | None]) -> None:
        with self._lock:
            for key, snapshot in seen.items():
                if (followed := self._followed.get(key)) is None:
                    continue
                if snapshot is not None:
                    followed.renew(snapshot)
                else:
                    del self._followed[key]
                    followed.gone = True
                    followed.wake()

    def _let_go(self) -> None:
        """Wake those who have closed their connections: who says nothing is else found out by the second comment only."""
        with self._lock:
            listeners = [listener for followed in self._followed.values() for listener in followed.listeners]
        known = {listener.connection: listener for listener in listeners if listener.connection is not None}
        for connection in presence.closed(known):
            known[connection].gone = True
            known[connection].wake()
