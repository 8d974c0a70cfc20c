"""The envelope: how a command travels through the queue, and the job a worker makes of it.

On the wire it is RQ's `data`, in JSON: [function, null, [envelope], {}]; the function is always ours.
"""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import orjson
from pydantic import ValidationError

from jobs.kernel import registry
from jobs.kernel.command import Command
from jobs.kernel.errors import Failed
from jobs.kernel.policy import Priority
from jobs.kernel.secret import SEALED

FUNCTION = "workers.executor.execute"
"""The one function name a job may carry; anything else is refused, never called."""

MOST_BYTES = 16 * 1024 * 1024
"""The most an envelope may inflate to."""

C = TypeVar("C", bound=Command)


class Job(NamedTuple, Generic[C]):
    """A command on its way, as its handler sees it.

    `moment`: the effective moment (CONTRACT.md §4), UTC. `run`: 1, and one more per explicit retry.
    `attempt`: this execution, from 1. `waits`: how often a rule has made it wait.
    `if_match`: entity tags without quotes, `("*",)` for any; None when the client did not ask. `session_version`: the
    sender's when it was sent, of kinds that ask for it.
    """

    id: UUID
    command: C
    owner: UUID | None
    moment: datetime
    target: UUID | None = None
    if_match: tuple[str, ...] | None = None
    session_version: int | None = None
    run: int = 1
    attempt: int = 1
    waits: int = 0

    @property
    def resource(self) -> str | None:
        return self.command.resource_of(self.id, self.target)


def pack(
    command: Command,
    *,
    body: dict[str, Any] | None = None,
    target: UUID | None = None,
    if_match: tuple[str, ...] | None = None,
    request_id: str | None = None,
    session_version: int | None = None,
    priority: Priority = Priority.NORMAL,
) -> dict[str, Any]:
    """The envelope of a command: JSON values only, and nothing that is empty. `body`: of `body_of`, where that is known."""
    members = {
        "kind": command.kind,
        "body": body_of(command) if body is None else body,
        "target": str(target) if target else None,
        "if_match": list(if_match) if if_match is not None else None,
        "request_id": request_id,
        "session_version": session_version,
        "priority": priority.value if priority is not Priority.NORMAL else None,
    }
    return {name: value for name, value in members.items() if value is not None}


def body_of(command: Command) -> dict[str, Any]:
    """What a command says, as JSON values."""
    return command.model_dump(mode="json", exclude_unset=True, by_alias=True)


def dump(envelope: dict[str, Any]) -> bytes:
    """RQ's `data` for an envelope."""
    return orjson.dumps([FUNCTION, None, [envelope], {}])


def load(data: bytes) -> dict[str, Any]:
    """The envelope in RQ's `data`. Raises Failed, whose code says why, for anything that is not ours."""
    try:
        function, instance, args, kwargs = orjson.loads(inflated(data))
        (envelope,) = args
    except (ValueError, TypeError, zlib.error) as broken:
        raise Failed("The job cannot be read.", code="job_unreadable") from broken
    if function != FUNCTION or instance is not None or kwargs or not isinstance(envelope, dict):
        raise Failed("The job asks for a function that is not ours.", code="job_foreign")
    return envelope


def inflated(data: bytes) -> bytes:
    """RQ deflates what it writes itself, when it saves a job; we do not. 78 starts a zlib stream (RFC 1950 §2.2)."""
    if not data.startswith(b"\x78"):
        return data
    inflater = zlib.decompressobj()
    return inflater.decompress(data, MOST_BYTES)


def open_command(envelope: dict[str, Any]) -> Command:
    """The command in an envelope. Raises Failed (`kind_unknown`, `job_unreadable`)."""
    kind = envelope.get("kind")
    declared = registry.find(kind) if isinstance(kind, str) else None
    if declared is None:
        raise Failed("No kind of that name is declared.", code="kind_unknown")
    try:
        return declared.model_validate_json(orjson.dumps(envelope.get("body", {})), context=SEALED)
    except ValidationError as broken:
        raise Failed("The job's body does not fit its kind.", code="job_unreadable") from broken
