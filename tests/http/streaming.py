"""Streams of Server-Sent Events, read as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import requests

from tests.http.serving import Served


class Event(NamedTuple):
    """One event of a stream; a comment has no name."""

    name: str
    id: str
    data: Any

    @property
    def told(self) -> tuple[str, str]:
        return self.id, self.data["status"]


COMMENT = Event("", "", None)


class Stream:
    """A stream that is open; what comes is waited for."""

    def __init__(self, answer: requests.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines(chunk_size=1)

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        found = {}
        while line := next(self._lines):
            name, _, value = line.decode().partition(":")
            found[name] = value.removeprefix(" ")
        assert found.keys() in ({"event", "id", "data"}, {""})
        data = json.loads(found["data"]) if "data" in found else None
        return Event(found.get("event", ""), found.get("id", ""), data)

    def events(self) -> list[Event]:
        """What is told until the stream ends."""
        return [event for event in self if event != COMMENT]

    def rest(self) -> list[tuple[str, str]]:
        """The versions and statuses that are told until the stream ends."""
        return [event.told for event in self.events()]


Follow = Callable[..., Stream]


@contextmanager
def opening(web: Served, path: str, headers: dict[str, str]) -> Iterator[Follow]:
    """For the length of a block, what opens streams of something by its id. `path`: with a place for it. To what it opens a
    stream with may be given: `last`, the Last-Event-ID; `server`, another one; and more headers, None for none of that name."""
    with ExitStack() as opened:

        def follow(name: object, last: str | None = None, server: Served = web, **more: Any) -> Stream:
            given = headers | ({"Last-Event-ID": last} if last is not None else {}) | more
            answer = server.get(path.format(name), headers=given, stream=True)
            return Stream(opened.enter_context(answer))

        yield follow
