"""A client's socket, at which whole requests are turned away unparsed, and the rules by which bytes are one request."""

from __future__ import annotations

import math
import re
import socket
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from gevent import Timeout, sleep
from gevent.socket import cancel_wait_ex

LONGEST = 64 * 1024
"""Bytes of a request that is read in order to be refused; a longer one is served, or refused, as it comes."""

HELD = 0.1
"""Seconds for which a refusal is held back: who asks again at once then does so ten times a second, and not as often as
both sides can, which would take most of the processors from those who are served."""

IDLE = 2.0
"""Seconds without a request after which nobody is expected to be about to send one."""

END = b"\r\n\r\n"
REFUSABLE = re.compile(
    rb"(?!CONNECT |OPTIONS |(?:GET|HEAD) /(?:healthz|readyz|metrics)[ ?])[A-Z]+ /[^ \r\n]* HTTP/1\.[01]\r\n"
)
NOT_PLAIN = re.compile(
    rb"\n(?:transfer-encoding|expect|upgrade|connection(?!:[ \t]*(?:keep-alive|close)[ \t]*\r\n)|[ \t])|[^\r]\n"
)
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,7})[ \t]*\r\n")
CLOSES = re.compile(rb"\nconnection:[ \t]*close[ \t]*\r\n")
"""These three are for heads in lower case: to search for either case takes several times as long."""


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

        self._idle_since = math.inf
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
        data = self._next(size)
        if data and self._is_too_much(data):
            data = self._turn_away(data, size, began + self._patience)
        self.between = False
        return data

    def dismiss(self) -> None:
        """Close a connection that has been idle, as if the client had; what has come of a request is still served."""
        if monotonic() - self._idle_since > IDLE:
            with suppress(OSError):  # the client was faster
                self._client.shutdown(socket.SHUT_RD)

    def _next(self, size: int) -> bytes:
        """The beginning of the next request, whenever it comes."""
        self._idle_since = monotonic()
        data: bytes
        try:
            data = self._client.recv(size)
        except cancel_wait_ex:  # dismissed
            data = self._client.recv(size)
        finally:
            self._idle_since = math.inf
        return data

    def _turn_away(self, data: bytes, size: int, until: float) -> bytes:
        """The beginning of the first request that is not refused; nothing where the connection is at its end."""
        while data and self._is_too_much(data):
            whole = length(data)
            if len(data) < whole:
                data = self._whole(data, until)
                whole = length(data) if self._is_too_much(data) else 0  # its method may have come in two pieces
            if whole != len(data):
                break
            sleep(HELD)
            head = data[: data.index(END) + 2]
            closes = not self._keeper.alive or monotonic() > until or is_last(head)
            self.sendall(self._keeper.refusal(head, closes=closes))
            if closes:
                return b""
            data = self._next(size)
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


def is_last(head: bytes) -> bool:
    """Whether whoever sent this head wants no further request on the connection, or may not know that there could be."""
    lines = head.lower()
    return lines[: lines.index(b"\r\n")].endswith(b"http/1.0") or CLOSES.search(lines) is not None


def length(data: bytes) -> int:
    """How long the request is that begins so; at most LONGEST where that is still to be seen, and 0 where it is left
    to the parser."""
    head, end, _ = data.partition(END)
    if not end:
        return LONGEST if len(data) < LONGEST else 0
    if not REFUSABLE.match(head + b"\r\n"):
        return 0
    lines = head.lower() + b"\r\n"
    if NOT_PLAIN.search(lines):
        return 0
    whole, announced = len(head) + 4, lines.count(b"content-length")
    if announced:
        found = LENGTH.search(lines)
        if announced > 1 or not found:
            return 0
        whole += int(found[1])
    return whole if whole <= LONGEST else 0
