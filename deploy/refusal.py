"""What a request is answered that is refused unread. It imports the application: to be imported in a worker only."""

from __future__ import annotations

import os
import re

from api.headers import EXPOSED
from config import Settings
from deploy.wire import response
from jobs.kernel.errors import Overloaded

REQUEST_ID = re.compile(rb"\r\nx-request-id:[ \t]*([A-Za-z0-9._-]{1,128})[ \t]*\r\n", re.IGNORECASE)
ORIGIN = re.compile(rb"\r\norigin:[ \t]*([^ \t\r\n]+)[ \t]*\r\n", re.IGNORECASE)
NOBODYS = b"0" * 32
"""Stands for the id of a request that brought none."""


class Refusals:
    """Answers to requests of which only the head is known."""

    def __init__(self, settings: Settings) -> None:
        self._origins = {origin.lower().encode() for origin in settings.cors_origins}
        self._cors = f"Access-Control-Expose-Headers: {', '.join(sorted(EXPOSED))}\r\nVary: Origin\r\n".encode()
        if b"*" not in self._origins:
            self._cors += b"Access-Control-Allow-Credentials: true\r\n"
        self._anonymous = overloaded(NOBODYS.decode())

    def answer(self, head: bytes, *, closes: bool) -> bytes:
        """The answer to the request with this head, to HEAD without a body."""
        asked = REQUEST_ID.search(head)
        if asked:
            answer = overloaded(asked[1].decode())
        else:
            answer = self._anonymous.replace(NOBODYS, os.urandom(16).hex().encode())
        more = self._allowed(head) + (b"Connection: close\r\n" if closes else b"")
        if more:
            answer = answer.replace(b"\r\n", b"\r\n" + more, 1)
        return answer[: answer.index(b"\r\n\r\n") + 4] if head.startswith(b"HEAD ") else answer

    def _allowed(self, head: bytes) -> bytes:
        """What lets a page of another origin read the answer; the same lines as `api.headers` has added."""
        origin = ORIGIN.search(head) if self._origins else None
        if origin is None or not {origin[1].lower(), b"*"} & self._origins:
            return b""
        return b"Access-Control-Allow-Origin: %s\r\n" % origin[1] + self._cors


def overloaded(request_id: str) -> bytes:
    """The answer without anything that depends on what was asked; its connection stays open."""
    refusal = Overloaded()
    return response(refusal.problem(), request_id, refusal.headers)
