"""Server-Sent Events: whoever follows something hears of every change of it, without a connection or a query of their own.

While it waits, a stream takes no place among the requests in flight: the server has left the application by then.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from time import time
from typing import NamedTuple
from uuid import UUID

from flask import Response, request

from api import presence
from api.flight import ending
from api.following import Following, Listener, Look, Snapshot
from api.places import Places

COMMENT_EVERY = 15.0
"""Seconds of silence after which a comment is sent: proxies keep the stream for it, and who has vanished is found out."""

COMMENT = b":\n\n"
VERSION = re.compile(r"[0-9]{1,16}")


class Follower(NamedTuple):
    """Somebody who follows something. `name`: tells them apart from others. `until`: seconds since 1970. `lasts`: whether they may
    still hear of it; asked before each event."""

    name: object
    until: float
    lasts: Callable[[], bool]


class Streams:
    """Streams of things of one sort."""

    def __init__(
        self,
        look: Look,
        places: Places,
        *,
        stage: Callable[[int], int] = int,
        announce: Callable[[UUID], bool] = lambda _: True,
    ) -> None:
        """stage: of a version; as long as that is the same, all that changes is progress. announce: see `Following`."""
        self._following = Following(look, announce)
        self._places, self._stage = places, stage
        self.stir = self._following.stir

    def response(self, key: UUID, first: Snapshot, who: Follower) -> Response:
        """The answer to the present request: the stream of `key`, which was seen to be `first` just now. It ends with a
        final state, when `who` may follow it no more, or as soon as the server has been told to stop.

        204 for somebody who has the final state already: by that a browser knows not to ask again. Raises Overloaded.
        """
        known = request.headers.get("Last-Event-ID", "")
        after = int(known) if VERSION.fullmatch(known) else -1
        if first.final and first.version <= after:
            return Response(status=204)
        self._places.take(who.name)
        self._following.ending = ending()
        events = self._events(key, first, after, who, Listener(presence.connection()))
        response = Response(events, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        response.call_on_close(partial(self._places.give_back, who.name))
        return response

    def _events(self, key: UUID, first: Snapshot, after: int, who: Follower, listener: Listener) -> Iterator[bytes]:
        """The stream itself. Its first bytes come at once, since by them the client knows that there is one."""
        yield self._event(first, after) if first.version > after else COMMENT
        if first.final:
            return
        seen = first
        followed = self._following.join(key, first, listener)
        try:
            while not seen.final and not self._following.ending() and (left := who.until - time()) > 0:
                silent = not listener.wait(min(COMMENT_EVERY, left))
                if listener.gone or not who.lasts():
                    return
                if followed.latest.version > seen.version:
                    before, seen = seen, followed.latest
                    yield self._event(seen, before.version)
                elif followed.gone:
                    return
                elif silent and time() < who.until:
                    yield COMMENT
        finally:
            self._following.leave(key, followed, listener)

    def _event(self, snapshot: Snapshot, before: int) -> bytes:
        """What is sent of it to somebody who knows an earlier version."""
        name = b"progress" if self._stage(snapshot.version) == self._stage(before) else b"status"
        return b"event: %s\nid: %d\ndata: %s\n\n" % (name, snapshot.version, snapshot.data)
