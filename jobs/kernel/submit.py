"""Submit: a command becomes a durable job, in one round trip to Redis (DESIGN.md §3)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import time
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson
import uuid_utils
from redis import Redis

from config import Settings
from jobs.kernel import broker
from jobs.kernel.calls import Calls
from jobs.kernel.command import Command
from jobs.kernel.envelope import dump, pack
from jobs.kernel.errors import AppError, Invalid, QueueDown, QueueFull, RateLimited, SessionEnded
from jobs.kernel.failpoints import Point, reach
from jobs.kernel.outcome import State
from jobs.kernel.policy import Priority
from jobs.kernel.times import from_micros, micros
from models.views import ident

NOBODY = ("", "")

CHUNK = 100
"""Jobs in one call of the script: a longer one would keep everybody else waiting."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A fixed window. `name`: its counter's key in Redis, as Flask-Limiter spells it, so that both count as one."""

    name: str
    amount: int
    seconds: int
    cost: int = 1


class Submission(NamedTuple):
    """A command and what is asked of its job. `run_at`: UTC. `notify`: the channel told when the job is final.
    `session_version`: the sender's, where the command is for that alone. `caps`: limits that count jobs which are made, so
    not one that is known already; where one of them is exceeded, none of them counts, and no job is made. `body`: the command as
    it travels, where that is known."""

    id: UUID
    command: Command
    owner: UUID | None
    target: UUID | None = None
    if_match: tuple[str, ...] | None = None
    run_at: datetime | None = None
    fingerprint: str | None = None
    request_id: str | None = None
    notify: str | None = None
    session_version: int | None = None
    caps: tuple[Limit, ...] = ()
    priority: Priority = Priority.NORMAL
    body: dict[str, Any] | None = None

    def arguments(self) -> tuple[str | bytes | int, ...]:
        """What submit.lua takes per job, in its order."""
        policy = self.command.policy
        envelope = pack(
            self.command,
            body=self.body,
            target=self.target,
            if_match=self.if_match,
            request_id=self.request_id,
            session_version=self.session_version,
            priority=self.priority,
        )
        return (
            ident(self.id),
            self.priority.lane(policy.queue),
            self.command.kind,
            dump(envelope),
            ident(self.owner) if self.owner else "",
            self.fingerprint or "",
            micros(self.run_at) if self.run_at else "",
            int(policy.timeout),
            self.notify or "",
            orjson.dumps([value for cap in self.caps for value in (cap.name, cap.amount, cap.seconds)])
            if self.caps
            else "",
            ident(self.target) if self.target else "",
        )


class Session(NamedTuple):
    """What a sender has signed in to: a field of the hash that holds their sessions, and is there as long as it lasts."""

    key: str
    id: str


class LimitState(NamedTuple):
    """Where a caller stands in a window. `reset_after`: seconds."""

    limit: int
    remaining: int
    reset_after: int


class Accepted(NamedTuple):
    """The answer to a submission. `fresh`: False when the same command with the same key came before."""

    id: UUID
    fresh: bool
    submitted_at: datetime
    state: State
    limit: LimitState | None


Result = Accepted | AppError
"""What became of one of many submissions: accepted, or why not."""


class Submitter:
    """Puts commands on their queues."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._call = Calls(redis, Path(__file__).with_name("submit.lua"))
        self._bounds = (settings.max_queue_depth, settings.max_memory_percent)

    def submit(self, submission: Submission, limit: Limit | None = None, session: Session | None = None) -> Accepted:
        """Store and queue one command; when this returns, the job is on disk.

        Raises Unauthenticated when the session has ended, Invalid (`idempotency_key_reused`), RateLimited, QueueFull, and QueueDown with the `job_id` when no
        answer came: asking again with the same key is then safe.
        """
        (result,) = self._ask([submission], limit, session)
        if isinstance(result, AppError):
            raise result
        return result

    def submit_many(
        self, submissions: Sequence[Submission], limit: Limit | None = None, session: Session | None = None
    ) -> list[Result]:
        """Store and queue many commands; what became of each, in order. Each that is accepted is on disk.

        `limit`: each counts as `limit.cost`, and the first are accepted as far as its window has room. A refusal is the error that `submit` would raise, and spoils no other;
        but where Redis does not answer, nothing more is asked of it.
        """
        results: list[Result] = []
        for start in range(0, len(submissions), CHUNK):
            results += self._ask(submissions[start : start + CHUNK], limit, session)
            if isinstance(results[-1], QueueDown):
                return results + [QueueDown(job_id=str(left.id)) for left in submissions[len(results) :]]
        return results

    def _ask(self, submissions: Sequence[Submission], limit: Limit | None, session: Session | None) -> list[Result]:
        cost = limit.cost * len(submissions) if limit else 0
        window = (limit.name, limit.amount, limit.seconds, cost) if limit else ("", 0, 0, 0)
        arguments = [value for submission in submissions for value in submission.arguments()]
        try:
            reach(Point.SUBMIT_BEGINS)
            verdict, accepted, count, left, *words = self._call(
                [*self._bounds, *window, *(session or NOBODY), *arguments]
            )
            reach(Point.SUBMIT_ANSWERED)
        except broker.LOST as lost:
            return [_caused(QueueDown(job_id=str(submission.id)), lost) for submission in submissions]
        except broker.ResponseError as refusal:
            unavailable = broker.unavailable(refusal)
            if unavailable is None:
                raise
            return [_caused(unavailable, refusal)] * len(submissions)
        if verdict == b"ended":
            return [SessionEnded()] * len(submissions)
        state = LimitState(limit.amount, max(0, limit.amount - count), max(0, left)) if limit else None
        if state and verdict == b"limited":
            return [_limited(state)] * len(submissions)
        if verdict != b"ok":
            return [QueueFull(retry_after=5)] * len(submissions)
        at = from_micros(int(accepted))
        return [_result(*told, at, state) for told in zip(submissions, words, strict=True)]


def _result(submission: Submission, word: bytes | list[Any], at: datetime, limit: LimitState | None) -> Result:
    if isinstance(word, list):
        _, which, count, left = word
        cap = submission.caps[which - 1]
        return _limited(LimitState(cap.amount, max(0, cap.amount - count), left))
    if word == b"other":
        return Invalid("This Idempotency-Key was used for another request.", code="idempotency_key_reused")
    if word == b"limited" and limit:
        return _limited(limit)
    if word == b"full":
        return QueueFull(retry_after=5)
    state = State.SCHEDULED if word == b"scheduled" else State.QUEUED
    return Accepted(submission.id, word != b"same", at, state, limit)


def _limited(state: LimitState) -> RateLimited:
    wait = max(1, state.reset_after)
    return RateLimited(retry_after=wait, headers=limit_headers(state, retry_after=wait))


def _caused(error: AppError, cause: Exception) -> AppError:
    error.__cause__ = cause
    return error


def limit_headers(state: LimitState | None, *, retry_after: int | None = None) -> dict[str, str]:
    """`X-RateLimit-*` (and `Retry-After`) for where a caller stands."""
    headers = {}
    if state is not None:
        headers = {
            "X-RateLimit-Limit": str(state.limit),
            "X-RateLimit-Remaining": str(state.remaining),
            "X-RateLimit-Reset": str(int(time()) + state.reset_after),
        }
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return headers


def new_id() -> UUID:
    """A UUIDv7: ids of one process sort by time."""
    return UUID(int=uuid_utils.uuid7().int)


def secret_id() -> UUID:
    """An id that cannot be guessed, for what whoever holds it may read: a UUIDv4, of 122 random bits."""
    return uuid4()


def keyed_id(secret: str, user: UUID, key: str) -> UUID:
    """The UUIDv8 that a user's idempotency key stands for: the same key, the same id (RFC 9562 §5.8)."""
    digest = hmac.digest(secret.encode(), user.bytes + key.encode(), hashlib.sha256)
    bits = int.from_bytes(digest[:16])
    bits = bits & ~(0xF << 76) | 0x8 << 76  # version 8
    return UUID(int=bits & ~(0x3 << 62) | 0x2 << 62)  # variant


def salt_of(secret: str, user: UUID, key: str) -> bytes:
    """The salt of passwords that are sent with a key: the same for the same key, so that their hashes can be compared, and
    not to be told by anybody else; 16 bytes."""
    return hmac.digest(secret.encode(), b"salt" + user.bytes + key.encode(), hashlib.sha256)[:16]


def fingerprint(route: str, body: dict[str, Any], run_at: datetime | None, if_match: tuple[str, ...] | None) -> str:
    """What makes two requests with one key the same: route, canonical body, `run_at` and `If-Match`; 32 hex digits."""
    whole = [route, body, micros(run_at) if run_at else None, if_match]
    return hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:32]
