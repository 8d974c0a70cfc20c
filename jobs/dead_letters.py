"""Dead letters: failed jobs that are run again, or given up for good, one or by what they have in common (CONTRACT.md §9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Annotated, Any, Self
from uuid import UUID

import structlog
from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from jobs.kernel import dead_letters
from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.errors import Cancelled, NotFound, PreconditionFailed
from jobs.kernel.outcome import succeeded
from jobs.kernel.policy import Access, Policy, Retry
from jobs.kernel.ports import Conclusion, Outside
from jobs.kernel.rerun import DeadLetter, Rerun
from jobs.kernel.times import Time
from models import Receipt, letter_store
from models.letter_store import Place, Which
from models.views import ident, spelled_id

log = structlog.get_logger(__name__)

BY_OPERATORS = Policy(queue="deliveries", access=Access.ADMIN, retry=Retry(attempts=5, base=0.5, cap=60), timeout=300)

PAGE = 200
WITHIN = 20.0
"""Seconds after which one job goes no further, unless it has done nothing yet, and says how many are left."""


def _id(value: object) -> UUID:
    found = spelled_id(value) if isinstance(value, str) else value
    if not isinstance(found, UUID):
        raise ValueError("should be a UUID")
    return found


Id = Annotated[UUID, BeforeValidator(_id), WithJsonSchema({"type": "string", "format": "uuid"})]
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.]{1,100}$"), Field(examples=["orders.place"])]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,100}$"), Field(examples=["job_failed"])]


class OperatorsCommand(Command, policy=BY_OPERATORS):
    """What admins do, and whoever works at the command line, who has no name here."""

    def admits(self, role: str | None, sender: UUID | None) -> bool:
        return super().admits(role, sender) or (role is None and sender is None)

    def under_way(self, ctx: Context, job: Job[Self]) -> bool:
        """What an earlier execution has done stays done, and is told."""
        return job.attempt > 1


class LettersCommand(OperatorsCommand):
    """What is done with all dead letters that fit all that is given."""

    of_kind: Kind | None = Field(None, alias="kind", description="only failed jobs of this kind")
    code: Code | None = Field(None, description="only those whose error has this code")
    failed_after: Time | None = Field(None, description="only those that failed at this time or later")
    failed_before: Time | None = Field(None, description="only those that failed before this time")
    ids: list[Id] | None = Field(None, min_length=1, max_length=1000, description="only these")

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if self.which() == Which():
            raise ValueError("chooses nothing: name a kind, a code, a time, or ids")
        return self

    def which(self) -> Which:
        return Which(self.of_kind, self.code, self.failed_after, self.failed_before, self.ids)

    def until_now(self, job: Job[Self]) -> Which:
        """Those that had failed when this was sent: what fails again meanwhile is not met a second time."""
        which = self.which()
        return replace(which, failed_before=min(filter(None, (which.failed_before, job.moment))))


class ReplayLetters(LettersCommand, kind="dead_letters.replay", route="POST /v1/dead-letters/replay"):
    """Run failed jobs again.

    All that fit all that is given, oldest first. The result is `{"replayed", "under_way", "skipped", "left"}`: jobs that run
    again; that somebody had run again before; of which nothing is left to run, or that are no dead letters; and that were not
    come to, because there was no room in their queue or they were too many for one job: send this again for those.
    """

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        """Whoever begins anew meets what was run again before as under way: no job is run twice for it."""
        which, counts = self.until_now(job), {"replayed": 0, "under_way": 0, "skipped": 0}
        total = _counted(outside, which)
        place: Place | None = None
        began = monotonic()
        letters: Sequence[DeadLetter] | None = None
        while letters := self._next(outside, job, which, place, sum(counts.values()), total):
            words = _rerun(outside, letters)
            for word in filter(None, words):
                counts[word] += 1
            place = _place(letters[-1])
            late = (
                monotonic() - began > WITHIN and counts["replayed"] > 0
            )  # or the next job would come no further either
            if None in words or late:
                break
        counts["left"] = 0 if letters == [] else max(0, total - sum(counts.values()))
        if self.ids:  # what is no dead letter, or none any more
            counts["skipped"] = len(set(self.ids)) - counts["replayed"] - counts["under_way"] - counts["left"]
        return lambda ctx: _done(ctx, job, "dead_letters_replayed", counts)

    def _next(
        self, outside: Outside, job: Job[Self], which: Which, after: Place | None, done: int, total: int
    ) -> list[DeadLetter] | None:
        """The next page; none where there is no more, None where somebody has asked to stop."""
        outside.insist()
        with outside.transaction() as ctx:
            if _stops(ctx, job, done, total):
                return None
            return dead_letters.next_page(ctx.session, which, after, PAGE)


class DiscardLetters(LettersCommand, kind="dead_letters.discard", route="POST /v1/dead-letters/discard"):
    """Discard dead letters.

    All that fit all that is given leave the list for good, and cannot be run again; that their jobs failed can still be found
    out. The result is `{"discarded", "left"}`; send this again for those that are left.
    """

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        which, discarded = self.until_now(job), 0
        total, began = _counted(outside, which), monotonic()
        while gone := self._some(outside, job, which, discarded, total):
            discarded += gone
            if monotonic() - began > WITHIN:
                break
        counts = {"discarded": discarded, "left": 0 if gone == 0 else max(0, total - discarded)}
        return lambda ctx: _done(ctx, job, "dead_letters_discarded", counts)

    def _some(self, outside: Outside, job: Job[Self], which: Which, done: int, total: int) -> int | None:
        """How many more are gone; None where somebody has asked to stop."""
        outside.insist()
        with outside.transaction() as ctx:
            if _stops(ctx, job, done, total):
                return None
            return letter_store.discard(ctx.session, which, ctx.now, PAGE)


class DiscardLetter(
    OperatorsCommand, kind="dead_letters.discard_one", route="DELETE /v1/dead-letters/{id}", target=Receipt
):
    """Discard a dead letter.

    It leaves the list for good, and cannot be run again; that its job failed can still be found out.
    """

    def handle(self, ctx: Context, job: Job[Self]) -> Any:
        if job.if_match not in (None, ("*",)):  # it has no tag, so that none is its
            raise PreconditionFailed
        if job.target is None or not letter_store.discard(ctx.session, Which(ids=[job.target]), ctx.now, 1):
            raise NotFound
        log.info("dead_letter_discarded", letter=ident(job.target), by=_by(job))


def _counted(outside: Outside, which: Which) -> int:
    with outside.transaction() as ctx:
        return letter_store.count(ctx.session, which)


WORDS: dict[Rerun, str] = {Rerun.NEW: "replayed", Rerun.UNDER_WAY: "under_way"}


def _stops(ctx: Context, job: Job[Any], done: int, total: int) -> bool:
    """Whether somebody has asked to stop, and something was done that stays done, and so is told. Raises Cancelled where
    nothing was."""
    try:
        ctx.report(job.id, done, total)
    except Cancelled:
        if done or job.attempt > 1:
            return True
        raise
    return False


def _rerun(outside: Outside, letters: Sequence[DeadLetter]) -> list[str | None]:
    """What became of each, in order; None where there was no room for it, or it could not be told yet."""
    told = iter(outside.rerun([letter for letter in letters if letter.can_rerun]))
    return [WORDS.get(next(told)) if letter.can_rerun else "skipped" for letter in letters]


def _place(letter: DeadLetter) -> Place:
    return letter.finished_at, letter.id


def _done(ctx: Context, job: Job[Any], event: str, counts: dict[str, int]) -> Any:
    total = sum(counts.values())
    log.info(event, by=_by(job), **counts)
    return succeeded(counts, progress={"done": total - counts["left"], "total": total})


def _by(job: Job[Any]) -> str:
    """Who has sent it; of the command line, that itself logs who it was."""
    return ident(job.owner) if job.owner else "command line"
