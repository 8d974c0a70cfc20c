"""Server-Sent Events: whoever follows something hears of every change of it, without a connection or a query of their own.

One watcher in a process asks for all of one sort that is followed there at once, and wakes those who follow what has
changed: nothing is lost because nobody told of it. Who hears of something sooner lets it be looked at at once (`stir`).
Under gevent the watcher and its followers are greenlets; under plain threads they work alike. While it waits, a stream
takes no place among the requests in flight: the server has left the application by then.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import monotonic, time
from typing import NamedTuple
from uuid import UUID

import structlog
from flask import Response, request
from structlog.contextvars import clear_contextvars

from api.flight import ending
from api.places import Places

LOOK = 0.5
"""Seconds between looks at all that is followed, where nobody says otherwise."""

COMMENT_EVERY = 15.0
"""Seconds of silence after which a comment is sent: who has gone away is found out by it, and proxies keep the rest."""

COMMENT = b":\n\n"
VERSION = re.compile(r"[0-9]{1,16}")

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


class Follower(NamedTuple):
    """Somebody who follows something. `until`: seconds since 1970. `lasts`: whether they may still hear of it; asked before
    each event."""

    until: float
    lasts: Callable[[], bool]


@dataclass(slots=True)
class Followed:
    """Something that is followed, as it was last seen, and what wakes those who follow it. `gone`: it is no more."""

    latest: Snapshot
    woken: list[Event] = field(default_factory=list)
    gone: bool = False

    def renew(self, snapshot: Snapshot) -> None:
        """It was seen again; whoever follows it hears of what is later."""
        later = snapshot.version > self.latest.version
        if later or snapshot.version == self.latest.version:
            self.latest = snapshot
        if later:
            self.wake()

    def wake(self) -> None:
        for event in self.woken:
            event.set()


class Streams:
    """Those who follow things of one sort, and the one who looks for them: it starts with the first of them, so after any
    fork, and ends with the last."""

    def __init__(
        self,
        look: Look,
        places: Places,
        *,
        every: float = LOOK,
        stage: Callable[[int], int] = int,
        announce: Callable[[UUID], bool] = lambda _: True,
    ) -> None:
        """every: seconds between looks. stage: of a version; as long as it is the same, all that changes is progress. announce:
        told of each thing that begins to be followed, from when on it may be stirred; false where it may have changed before."""
        self._look, self._places, self._every = look, places, every
        self._stage, self._announce = stage, announce
        self._lock = Lock()
        self._followed: dict[UUID, Followed] = {}
        self._stirred: set[UUID] = set()
        self._stir = Event()
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
        self._places.take()
        self._ending = ending()
        events = self._events(key, first, after, who)
        response = Response(events, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        response.call_on_close(self._places.give_back)
        return response

    def stir(self, key: UUID) -> None:
        """It may have changed; it is looked at at once, if it is followed."""
        with self._lock:
            if key in self._followed:
                self._stirred.add(key)
                self._stir.set()

    def _events(self, key: UUID, first: Snapshot, after: int, who: Follower) -> Iterator[bytes]:
        """The stream itself. Its first bytes come at once, since by them the client knows that there is one."""
        yield self._event(first, after) if first.version > after else COMMENT
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
                    before, seen = seen, followed.latest
                    yield self._event(seen, before.version)
                elif followed.gone:
                    return
                elif silent and time() < who.until:
                    yield COMMENT
        finally:
            self._leave(key, followed, woken)

    def _event(self, snapshot: Snapshot, before: int) -> bytes:
        """What is sent of it to somebody who knows an earlier version."""
        name = b"progress" if self._stage(snapshot.version) == self._stage(before) else b"status"
        return b"event: %s\nid: %d\ndata: %s\n\n" % (name, snapshot.version, snapshot.data)

    def _join(self, key: UUID, first: Snapshot, woken: Event) -> Followed:
        with self._lock:
            begins = key not in self._followed
            followed = self._followed.setdefault(key, Followed(first))
            followed.renew(first)
            followed.woken.append(woken)
            if followed.latest.version > first.version:
                woken.set()
            if not self._watching:
                self._watching = True
                Thread(target=self._watch, name="streams", daemon=True).start()
        if begins and not self._announce(key):
            self.stir(key)
        return followed

    def _leave(self, key: UUID, followed: Followed, woken: Event) -> None:
        with self._lock:
            followed.woken.remove(woken)
            if not followed.woken and self._followed.get(key) is followed:
                del self._followed[key]

    def _watch(self) -> None:
        clear_contextvars()  # those of the request that came first
        away, due = False, monotonic() + self._every
        while self._goes_on():
            self._stir.wait(max(due - monotonic(), 0.0))
            if monotonic() < due:
                known = self._take_stirred()
            else:
                known, due = self._take_all(), monotonic() + self._every
            try:
                self._renew(self._look(known) if known else {})
                away = False
            except Exception as error:  # noqa: BLE001 - whatever it is, those who follow go on waiting
                if not away:
                    log.warning("streams_not_looked_for", error=type(error).__name__)
                away = True

    def _goes_on(self) -> bool:
        """Whether anything is followed; else the watcher ends, and the next who follows something starts another."""
        with self._lock:
            if self._ending():
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
