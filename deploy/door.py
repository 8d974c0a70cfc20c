"""A client's socket, at which whole requests are turned away unparsed, and the rules by which bytes are one request."""

from __future__ import annotations

import re
from time import monotonic
from typing import Any, Protocol

from gevent import Timeout

LONGEST = 64 * 1024
"""Bytes of a request that is read in order to be refused; a longer one is served, or refused, as it comes."""

END = b"\r\n\r\n"
REFUSABLE = re.compile(
    rb"(?!CONNECT |OPTIONS |(?:GET|HEAD) /(?:healthz|readyz|metrics)[ ?])[A-Z]+ /[^ \r\n]* HTTP/1\.[01]\r\n"
)
NOT_PLAIN = re.compile(
    rb"\r\n(?:transfer-encoding|expect|upgrade|connection(?!:[ \t]*(?:keep-alive|close)[ \t]*\r\n))|\n[ \t]|[^\r]\n",
    re.IGNORECASE,
)
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,7})[ \t]*\r\n", re.IGNORECASE)
CLOSES = re.compile(rb"\A[^\r]*HTTP/1\.0\r\n|\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)


class Keeper(Protocol):
    """Who decides, at every door, whom to refuse."""

    alive: bool
    """Whether connections are to be kept open."""

    def is_too_much(self, begun: bytes) -> bool:
        """Whether a request that begins so comes to an overload; asked of every request."""

    def refusal(self, head: bytes, *, closes: bool) -> bytes:
        """The answer to a request with this head, which is hereby refused."""


class Door:
    """A client's socket, at which requests are turned away while there is too much in flight."""

    def __init__(self, client: Any, keeper: Keeper, patience: float) -> None:
        """patience: seconds after which a connection on which all was refused is closed, in order, by the answer to
        its next request; whoever counts the seconds of a whole `recv` would cut it off with a request unanswered."""
        self._client = client
        self._keeper = keeper
        self._patience = patience
        self._is_too_much = keeper.is_too_much
        self.between = True
        """Whether the next byte is the first of a request."""

        self.recv_into = client.recv_into
        self.sendall, self.send = client.sendall, client.send

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def recv(self, size: int) -> bytes:
        """What a socket would give, less the requests that were refused."""
        if not self.between:
            rest: bytes = self._client.recv(size)
            return rest
        began = monotonic()
        data: bytes = self._client.recv(size)
        if data and self._is_too_much(data):
            data = self._turn_away(data, size, began + self._patience)
        self.between = False
        return data

    def _turn_away(self, data: bytes, size: int, until: float) -> bytes:
        """The beginning of the first request that is not refused; nothing where the connection is at its end."""
        while data and self._is_too_much(data):
            if len(data) < length(data):
                data = self._whole(data, until)
            if not is_plain(data) or not self._is_too_much(data):  # a method that came in two pieces is known now
                break
            head = data.partition(END)[0] + b"\r\n"
            closes = not self._keeper.alive or monotonic() > until or CLOSES.search(head) is not None
            self.sendall(self._keeper.refusal(head, closes=closes))
            if closes:
                return b""
            data = self._client.recv(size)
        return data

    def _whole(self, data: bytes, until: float) -> bytes:
        """The request that begins so; what is not all there in time is left to the parser, with time to answer it."""
        with Timeout(max(until - monotonic(), 0.001), False):
            while (missing := length(data) - len(data)) > 0:
                more: bytes = self._client.recv(missing)
                if not more:
                    break
                data += more
        return data


def is_plain(data: bytes) -> bool:
    """Whether this is one request that can be refused unparsed, because there is no doubt where it ends."""
    return length(data) == len(data)


def length(data: bytes) -> int:
    """How long the request is that begins so; at most LONGEST where that is still to be seen, and 0 where it is left
    to the parser."""
    head, found, _ = data.partition(END)
    if not found:
        return LONGEST if len(data) < LONGEST else 0
    head += b"\r\n"
    if not REFUSABLE.match(head) or NOT_PLAIN.search(head):
        return 0
    lengths = LENGTH.findall(head)
    if len(lengths) > 1 or len(lengths) != head.lower().count(b"content-length"):
        return 0
    whole = len(head) + 2 + sum(map(int, lengths))
    return whole if whole <= LONGEST else 0
