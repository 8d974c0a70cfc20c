"""Settlements: what is told to Redis once a batch has been committed, or could not be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from jobs.kernel.effects import Effects, drops_of, implied
from jobs.kernel.outcome import Again, FollowUp, State
from jobs.kernel.times import micros
from models.views import ident, instant


class Leased(Protocol):
    """What names a lease."""

    @property
    def id(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def owner(self) -> UUID | None: ...
    @property
    def suspect(self) -> bool: ...


class Final(NamedTuple):
    """A job has its receipt, and this is what it says. `effects`: applied before it is told. `follow_ups`: submitted after
    it, by whoever carried the job out; who finds the receipt there already knows of none."""

    state: State
    finished_at: datetime
    effects: Effects | None = None
    follow_ups: tuple[FollowUp, ...] = ()


class HandBack(NamedTuple):
    """The job was not tried: back to the front of its queue, nothing counted.

    `in_doubt`: it may have been committed all the same, so that only PostgreSQL knows whether it is final.
    """

    in_doubt: bool = False


class Settlement(NamedTuple):
    """One lease and what becomes of it. `kind`: of its job; `drops`: scopes of the read cache that it has changed by now."""

    lease: Leased
    verdict: Final | Again | HandBack
    kind: str = ""
    drops: Collection[str] = ()

    def arguments(self) -> tuple[str | bytes | int, ...]:
        """What settle.lua takes per job, in its order."""
        lease, verdict = self.lease, self.verdict
        owner, suspect = ident(lease.owner) if lease.owner else "", "suspect" if lease.suspect else ""
        named, kind = (lease.id, lease.queue, lease.token), self.kind
        if isinstance(verdict, Final):
            ended_at = instant(verdict.finished_at) or ""
            return (*named, "final", owner, suspect, verdict.state.value, ended_at, "", "", kind)
        if isinstance(verdict, Again):
            moment = micros(verdict.moment) if verdict.moment else ""
            verb = "again" if verdict.counted else "snooze"
            return (*named, verb, owner, suspect, "", "", micros(verdict.at), moment, kind)
        return (*named, "doubt" if verdict.in_doubt else "back", owner, suspect, "", "", "", "", kind)


def changes(settlements: Iterable[Settlement]) -> Iterator[Effects]:
    """What is to be changed in Redis before these are told. Who puts a job off may have changed something, too."""
    told = [each for each in settlements if not isinstance(each.verdict, HandBack)]
    for kind, owner in {(each.kind, each.lease.owner) for each in told}:
        yield implied(kind, owner)
    for each in told:
        if each.drops:
            yield drops_of(each.drops)
        if isinstance(each.verdict, Final) and each.verdict.effects:
            yield each.verdict.effects
