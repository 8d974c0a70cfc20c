"""Server-Sent Events: whoever follows something hears of every change of it, without a connection or a query of their own.

One watcher in a process asks for all that is followed there at once, and wakes those who follow what has changed: nothing
is lost because nobody told of it. Under gevent the watcher and its followers are greenlets; under plain threads they work
alike. While it waits, a stream takes no place among the requests in flight: the server has left the application by then.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import sleep, time
from typing import NamedTuple
from uuid import UUID

import structlog
from flask import Response, request
from structlog.contextvars import clear_contextvars

from api.flight import ending
from jobs.kernel.errors import Overloaded

LOOK = 0.5
"""Seconds between looks at all that is followed."""

COMMENT_EVERY = 15.0
"""Seconds of silence after which a comment is sent: who has gone away is found out by it, and proxies keep the rest."""

MOST = 500
"""Streams of one process: half of the connections that it takes (`deploy.gunicorn`)."""

COMMENT = b":\n\n"
VERSION = re.compile(r"[0-9]{1,9}")

log = structlog.get_logger(__name__)


class Snapshot(NamedTuple):
    """Something as it is at one version. `data`: JSON, in one line. `final`: it changes no more."""

    version: int
    data: bytes
    final: bool


Look = Callable[[Mapping[UUID, int]], Mapping[UUID, Snapshot]]
"""Asked for the versions that are known: those of them that are at a later one by now."""


class Follower(NamedTuple):
    """Somebody who follows something. `until`: seconds since 1970. `lasts`: whether they may still hear of it; asked before
    each event."""

    until: float
    lasts: Callable[[], bool]


@dataclass(slots=True)
class Followed:
    """Something that is followed, as it was last seen, and what wakes those who follow it."""

    latest: Snapshot
    woken: list[Event] = field(default_factory=list)

    def renew(self, snapshot: Snapshot) -> None:
        """It was seen again; whoever follows it hears of what is later."""
        if snapshot.version > self.latest.version:
            self.latest = snapshot
            self.wake()

    def wake(self) -> None:
        for event in self.woken:
            event.set()


class Streams:
    """Those who follow things of one sort, and the one who looks for them: it starts with the first of them, so after any
    fork, and ends with the last."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._lock = Lock()
        self._followed: dict[UUID, Followed] = {}
        self._watching = False
        self._ending: Callable[[], bool] = bool
        """Whether the server has been told to stop; that it has, nobody says before the first stream."""

    def response(self, key: UUID, first: Snapshot, who: Follower) -> Response:
        """The answer to the present request: the stream of `key`, which was seen to be `first` just now. It ends with a
        final state, when `who` may follow it no more, or as soon as the server has been told to stop.

        204 for somebody who has the final state already: by that a browser knows not to ask again. Raises Overloaded.
        """
        known = request.headers.get("Last-Event-ID", "")
        after = int(known) if VERSION.fullmatch(known) else -1
        if first.final and first.version <= after:
            return Response(status=204)
        if sum(len(followed.woken) for followed in list(self._followed.values())) >= MOST:
            raise Overloaded
        self._ending = ending()
        events = self._events(key, first, after, who)
        return Response(events, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    def _events(self, key: UUID, first: Snapshot, after: int, who: Follower) -> Iterator[bytes]:
        """The stream itself. Its first bytes come at once, since by them the client knows that there is one."""
        yield _event(first) if first.version > after else COMMENT
        if first.final:
            return
        seen, woken = first, Event()
        followed = self._join(key, first, woken)
        try:
            while not seen.final and not self._ending() and (left := who.until - time()) > 0:
                silent = not woken.wait(min(COMMENT_EVERY, left))
                woken.clear()
                if not who.lasts():
                    return
                if followed.latest.version > seen.version:
                    seen = followed.latest
                    yield _event(seen)
                elif silent and time() < who.until:
                    yield COMMENT
        finally:
            self._leave(key, followed, woken)

    def _join(self, key: UUID, first: Snapshot, woken: Event) -> Followed:
        with self._lock:
            followed = self._followed.setdefault(key, Followed(first))
            followed.renew(first)
            followed.woken.append(woken)
            if followed.latest.version > first.version:
                woken.set()
            if not self._watching:
                self._watching = True
                Thread(target=self._watch, name="streams", daemon=True).start()
        return followed

    def _leave(self, key: UUID, followed: Followed, woken: Event) -> None:
        with self._lock:
            followed.woken.remove(woken)
            if not followed.woken:
                self._followed.pop(key, None)

    def _watch(self) -> None:
        clear_contextvars()  # those of the request that came first
        away = False
        sleep(LOOK)
        while known := self._versions():
            try:
                self._renew(self._look(known))
                away = False
            except Exception as error:  # noqa: BLE001 - whatever it is, those who follow go on waiting
                if not away:
                    log.warning("streams_not_looked_for", error=type(error).__name__)
                away = True
            sleep(LOOK)

    def _versions(self) -> dict[UUID, int]:
        """What is followed, by the version that is known of each; nothing where the watcher is to end."""
        with self._lock:
            if self._ending():
                for followed in self._followed.values():
                    followed.wake()
            self._watching = bool(self._followed)
            return {key: followed.latest.version for key, followed in self._followed.items()}

    def _renew(self, later: Mapping[UUID, Snapshot]) -> None:
        with self._lock:
            for key, snapshot in later.items():
                if followed := self._followed.get(key):
                    followed.renew(snapshot)


def _event(snapshot: Snapshot) -> bytes:
    return b"event: status\nid: %d\ndata: %s\n\n" % (snapshot.version, snapshot.data)
