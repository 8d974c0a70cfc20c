"""Answers that are kept in Redis, by whom they may be shown to, until a worker commits what makes them untrue.

What somebody sees of a domain is one scope, and one hash in Redis: a version, and answers by a digest of what was asked.
Whoever tells an outcome drops the hash first (jobs/kernel/effects.py), and the version with it. A request sees the version in
the round trip that counts it, before it asks PostgreSQL, and its answer is kept only where that version is still there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from threading import Event
from time import monotonic
from typing import NamedTuple, cast
from uuid import UUID

import structlog
from flask import Response, g, request
from redis import Redis

from api.complete import Complete
from api.flight import aside
from api.reads.conditional import tagged
from api.tokens import Caller
from config import Settings
from jobs.kernel import broker, keys
from jobs.kernel.calls import Calls
from jobs.kernel.effects import scope
from jobs.kernel.policy import Access
from jobs.kernel.telling import Telling
from models.views import ident

MOST_BYTES = 64 * 1024
"""Of an answer that is kept."""

LEASE = 1_000_000
"""us for which one process may ask PostgreSQL while others wait for its answer."""

PATIENCE, LOOK = 0.3, 0.005
"""Seconds that a process waits for what another one asks for, and between two looks at whether it is there."""

SLOWEST = 6.0
"""Seconds that requests of one process wait for one of them; longer than a statement may take."""

KNOWN = 10_000
"""Callers, and what they read, whose hashes' names are remembered."""

log = structlog.get_logger(__name__)


class Place(NamedTuple):
    """Where an answer is kept: the hash of its scope, and its field there. `seconds`: that the hash lasts."""

    key: str
    field: bytes
    seconds: int


class Looked(NamedTuple):
    """What was found there: the answer; or the version to keep one under, and whether this request is to ask for it."""

    entry: bytes | None = None
    version: bytes = b""
    leads: bool = False


NOTHING = Looked()


class Question:
    """What one request of this process asks for others as well. `entry`: the answer, if they can be given it."""

    __slots__ = ("answered", "entry")

    def __init__(self) -> None:
        self.answered = Event()
        self.entry: bytes | None = None


class Cache:
    """The answers that are kept, for all threads of a process."""

    def __init__(self, redis: Redis, settings: Settings, telling: Telling) -> None:
        self._redis = redis
        self._telling = telling
        self._seconds = settings.cache_ttl_seconds
        self._room = settings.max_memory_percent // 2
        self._secret = settings.secret_key.encode()[:64]
        self._keep = Calls(redis, Path(__file__).with_name("keep.lua"))
        self._questions: dict[tuple[Place, bytes], Question] = {}

    def place(self, who: Caller) -> Place | None:
        """Where the answer to the present request is kept. None where nothing is, or may be older than what was told here."""
        if not self._seconds or self._telling.owes:
            return None
        environ = request.environ
        key, name = _seen(request.endpoint or "", who.id, Access.ADMIN.admits(who.role))
        asked = f"{name} {environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        return Place(key, blake2b(asked.encode(), key=self._secret, digest_size=16).digest(), self._seconds)

    def answer(self, place: Place | None, looked: Looked, view: Callable[[], Response]) -> Response:
        """What is kept, or what the view answers."""
        if looked.entry is not None:
            g.cache = "hit"
            return shown(looked.entry)
        g.cache = "miss"
        if place is None or not looked.version:
            return view()
        mine = Question()
        question = self._questions.setdefault((place, looked.version), mine)
        if question is not mine and not looked.leads:
            with aside():
                question.answered.wait(SLOWEST)
            return view() if question.entry is None else shown(question.entry)
        try:
            if not looked.leads and (entry := self._of_another(place, looked.version, question)):
                question.entry = entry
                return shown(entry)
            return self._ask(place, looked.version, question, view)
        finally:
            question.answered.set()
            self._questions.pop((place, looked.version), None)

    def _ask(self, place: Place, version: bytes, question: Question, view: Callable[[], Response]) -> Response:
        """What the view answers; for all who wait, and to be kept."""
        entry = None
        try:
            response = view()
            entry = question.entry = entry_of(response)
            question.answered.set()
        finally:
            kept = entry if entry is not None and len(entry) <= MOST_BYTES else b""
            try:
                self._keep([place.key, version, place.field, kept, self._room])
            except (*broker.LOST, broker.ResponseError) as error:
                log.warning("answer_not_kept", error=type(error).__name__)
        return response

    def _of_another(self, place: Place, version: bytes, question: Question) -> bytes | None:
        """What another process asks for, or another request of this one by now; None where it does not come in time, or not
        under this version."""
        deadline = monotonic() + PATIENCE
        with aside():
            while monotonic() < deadline:
                if question.answered.wait(LOOK):
                    return question.entry
                try:
                    fields = [b"v", place.field, b"l" + place.field]
                    found, entry, lease = cast(list[bytes | None], self._redis.hmget(place.key, fields))
                except broker.LOST:
                    return None
                if found != version or entry is not None or lease is None:
                    return entry if found == version else None
        return None


def changes_by_itself() -> None:
    """What the present request is answered becomes untrue with time, though nobody writes: it is not to be kept."""
    g.fleeting = True


def entry_of(response: Response) -> bytes | None:
    """An answer as it is kept: its entity tag, or nothing, a line's end, and its body; also of one that told the client that
    it has it already. None of what is no good answer, or changes by itself."""
    if g.pop("fleeting", False):
        return None
    told: tuple[str, bytes] | None = g.pop("tagged", None)
    if told is not None:
        tag, body = told
        return b"%b\n%b" % (tag.encode(), body)
    return b"\n" + response.get_data() if response.status_code == 200 else None


def shown(entry: bytes) -> Response:
    """The answer that is kept so, or 304."""
    tag, _, body = entry.partition(b"\n")
    return tagged(body, tag.decode()) if tag else Complete(body, 200, content_type="application/json")


@lru_cache(KNOWN)
def _seen(endpoint: str, who: UUID, everything: bool) -> tuple[str, str]:
    """What somebody sees of an endpoint's domain: the name of the hash, and theirs."""
    return keys.cache(scope(endpoint.partition(".")[0], None if everything else who)), ident(who)
