"""The command: one class declares one kind of job, and everything else is derived from it (DESIGN.md §2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from config import Settings
from jobs.kernel import registry
from jobs.kernel.errors import DeclarationError
from jobs.kernel.policy import QUEUES, Access, Policy
from models.views import ident

if TYPE_CHECKING:
    from jobs.kernel.context import Context
    from jobs.kernel.envelope import Job
    from jobs.kernel.outcome import Outcome
    from jobs.kernel.ports import Conclusion, Outside

KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
ROUTE = re.compile(r"(POST|PUT|PATCH|DELETE) (/v1(?:/(?:[a-z0-9_-]+|\{id\}))+)")

MOST_BYTES = 8 << 20
"""The largest body that any kind may take: a worker takes 1 MiB of jobs at a time, or one."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a command is sent to. `path` is written as OpenAPI writes it, with `{id}` for the target."""

    method: str
    path: str

    @property
    def has_target(self) -> bool:
        return "{id}" in self.path


class Command(BaseModel):
    """A validated request to change something. Subclasses declare a kind by class keywords:

    `kind`: the stable dotted name. `route`: "METHOD /v1/path", or none for commands only workers send.
    `policy`: queue, access, retries, time-out. `creates`: what it makes bears the job's own id, and is found beside the
    route, or in the collection that is named instead of True.
    `target`: the model of the row that `{id}` in the route names; it has an `owner_id`.
    `most_bytes`: of its body, where it may be larger than most (CONTRACT.md §1).
    `every`: the setting that says how many seconds lie between two of them; the scheduler sends it, and it has no fields.

    The class docstring is the operation's summary (its first line) and description. A subclass carries itself out
    by `handle` (one at a time) or `handle_many` (a set in one go); kinds that inherit the same `handle_many` are
    handled together. What works outside PostgreSQL as well is carried out by `conduct`, on a queue of threads.
    A wrong declaration raises DeclarationError at import.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    route: ClassVar[Route | None] = None
    policy: ClassVar[Policy]
    creates: ClassVar[str | None] = None
    target: ClassVar[type[Any] | None] = None
    every: ClassVar[str | None] = None
    most_bytes: ClassVar[int] = 1 << 20

    def __init_subclass__(cls, **declaration: Any) -> None:
        """The declaration is read below, once pydantic has made the fields."""
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        kind: str | None = None,
        aliases: Sequence[str] = (),
        route: str | None = None,
        policy: Policy | None = None,
        creates: bool | str = False,
        target: type[Any] | None = None,
        every: str | None = None,
        most_bytes: int | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise DeclarationError(f"{cls.__qualname__}: no such class keyword: {', '.join(unknown)}")
        if policy is not None:
            cls.policy = policy
        if most_bytes is not None:
            cls.most_bytes = most_bytes
        if kind is None:
            return
        cls.kind, cls.aliases, cls.target, cls.every = kind, tuple(aliases), target, every
        cls.route = _route(cls, route) if route else None
        cls.creates = _collection(cls, creates)
        _check(cls)
        registry.add(cls)

    @classmethod
    def resource_of(cls, job_id: UUID, target: UUID | None) -> str | None:
        """The path of the resource that a job of this kind is about; known as soon as the job is."""
        if target is not None and cls.route is not None:
            return cls.route.path.replace("{id}", ident(target))
        return f"{cls.creates}/{ident(job_id)}" if cls.creates else None

    def admits(self, role: str | None, sender: UUID | None) -> bool:
        """Whether `sender`, of `role` (None: not signed in), may send just this; asked when it is submitted, and again when it
        runs. Whose the target is, is asked apart from it."""
        return self.policy.access.admits(role)

    def check(self, settings: Settings) -> None:
        """Look at what only the settings can tell is wrong with it, before it is queued. Raises Invalid."""

    def sender(self) -> str | None:
        """What tells those apart who send this without a token, so that each has idempotency keys of their own."""
        return None

    def handle(self, ctx: Context, job: Job[Self]) -> Any:
        """Carry this one out in the open transaction; return the result as a GET would show it.

        Raises Rejected when a rule says no, Snooze when it is too early; anything else is retried by policy.
        """
        raise DeclarationError(f"{type(self).__qualname__} has no handle")

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        """Carry the set out in the open transaction, in set-based SQL; one outcome per job, in order."""
        raise DeclarationError(f"{cls.__qualname__} has no handle_many")

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        """Carry this one out in steps, some of them outside PostgreSQL; what is returned is called in the last transaction,
        which commits together with the job's outcome.

        Any step may be the last that a worker comes to, and the next execution begins at the first again: so each writes
        down, in a transaction of its own, what the next execution has to know. Raises Rejected, Snooze or Cancelled as
        `handle` does; anything else is retried by policy.
        """
        raise DeclarationError(f"{type(self).__qualname__} has no conduct")

    def under_way(self, ctx: Context, job: Job[Self]) -> bool:
        """Whether something has been begun that cannot be taken back: then it is brought to its end, whatever has become of
        its sender's right to it, and whoever asks for it to be canceled."""
        return False

    def withdraw(self, ctx: Context, job: Job[Self]) -> None:
        """It is canceled after a worker had it, and before it was under way: take back what earlier executions have written."""


def handles_many(cls: type[Command]) -> bool:
    """Whether the kind is carried out as a set."""
    return cls.handle_many.__qualname__ != Command.handle_many.__qualname__


def is_conducted(cls: type[Command]) -> bool:
    """Whether the kind is carried out in steps, some of them outside PostgreSQL."""
    return cls.conduct is not Command.conduct


def _route(cls: type[Command], text: str) -> Route:
    match = ROUTE.fullmatch(text)
    if match is None:
        raise DeclarationError(f"{cls.__qualname__}: route {text!r} is not 'METHOD /v1/path' with at most an {{id}}")
    return Route(match[1], match[2])


def _collection(cls: type[Command], creates: bool | str) -> str | None:
    if creates is not True:
        return creates or None
    if cls.route is None or cls.route.has_target:
        raise DeclarationError(f"{cls.__qualname__} ({cls.kind}): creates=True needs a route without {{id}}")
    return cls.route.path


def _check(cls: type[Command]) -> None:
    def wrong(reason: str) -> DeclarationError:
        return DeclarationError(f"{cls.__qualname__} ({cls.kind}): {reason}")

    for name in (cls.kind, *cls.aliases):
        if not KIND.fullmatch(name):
            raise wrong(f"kind {name!r} is not a dotted name in lower case, like 'orders.place'")
    if not isinstance(getattr(cls, "policy", None), Policy):
        raise wrong("needs a policy")
    if not (cls.__dict__.get("__doc__") or "").strip():
        raise wrong("needs a docstring: it is the operation's summary")
    _check_way(cls, wrong)
    if cls.route is not None and cls.route.has_target != (cls.target is not None):
        raise wrong("a route with {id} needs target=, the model it names, and no other route may have one")
    if cls.target is not None and not hasattr(cls.target, "owner_id"):
        raise wrong(f"target {cls.target.__name__} has no owner_id")
    if not 0 < cls.most_bytes <= MOST_BYTES:
        raise wrong(f"most_bytes needs to be 1 to {MOST_BYTES}")
    if cls.route is None and cls.policy.access is Access.ANYONE:
        raise wrong("access ANYONE makes sense only with a route")
    if cls.route is not None and cls.policy.access is Access.OPERATOR:
        raise wrong("access OPERATOR makes sense only without a route")


def _check_way(cls: type[Command], wrong: Callable[[str], DeclarationError]) -> None:
    """How it is carried out, and who sends it where nobody asks for it."""
    if (cls.handle is not Command.handle) + handles_many(cls) + is_conducted(cls) != 1:
        raise wrong("needs one of handle, handle_many and conduct")
    if is_conducted(cls) and QUEUES[cls.policy.queue] != "threads":
        raise wrong(f"conduct needs a queue of threads, which {cls.policy.queue!r} is not")
    if cls.every is not None and cls.every not in Settings.model_fields:
        raise wrong(f"every={cls.every!r} is no setting")
    if cls.every is not None and (cls.route or cls.model_fields or cls.policy.access is not Access.OPERATOR):
        raise wrong("every= needs access OPERATOR, no route and no fields: nobody but the scheduler sends it")
