"""The checker: compares what was asked and acknowledged with what PostgreSQL holds, and with what the API tells.

It classifies as checkers of queues do: lost, duplicated, unexpected, wrong status, illegal transition, recovered.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field

from jobs.kernel import broker, keys
from tests.storm import effects
from tests.storm.book import Book, Outcome, Write
from tests.system.client import Job
from tests.system.stack import Stack
from tests.system.threads import by_threads

LOOKED_AT_ONE_BY_ONE = 300
TOLD_WITHIN_LEASES = 3


@dataclass
class Verdict:
    """What was found; of each class the ids or sentences. All but `recovered` have to be empty.

    `lost`: acknowledged, and no outcome, or not the effect that its outcome tells of. `duplicated`: an effect more
    than once. `unexpected`: an effect or an outcome that nobody asked for, or of a write that was refused by a rule.
    `wrong_status`: another outcome than it had to come to, or one that the API tells otherwise than PostgreSQL, also
    when Redis has lost everything. `illegal`: a status that may not follow what was seen before, or an answer that
    no write or read may get. `unsettled`: what Redis still has of jobs that are final. `recovered`: acknowledged only after the client had asked again.
    """

    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_status: list[str] = field(default_factory=list)
    illegal: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)

    @property
    def figures(self) -> str:
        counts = ", ".join(f"{name.replace('_', ' ')} {len(found)}" for name, found in self.classes.items())
        return f"{self.acknowledged:,} acknowledged ({len(self.recovered)} of them after asking again): {counts}"

    @property
    def classes(self) -> dict[str, list[str]]:
        names = ("lost", "duplicated", "unexpected", "wrong_status", "illegal", "unsettled")
        return {name: getattr(self, name) for name in names}

    @property
    def wrong(self) -> list[str]:
        """What has to be empty, with the first few of each class."""
        return [f"{name}: {len(found)}, like {found[:3]}" for name, found in self.classes.items() if found]


def outcomes(stack: Stack, book: Book) -> dict[str, Outcome]:
    """The outcomes of record: job id to status and the code of the error."""
    found = stack.rows("SELECT id::text, state, error->>'code' FROM receipts WHERE owner_id = %s", str(book.user.owner))
    return {job_id: (state, code) for job_id, state, code in found}


def until_final(stack: Stack, book: Book, seconds: float) -> float | None:
    """Wait until every acknowledged write has its outcome; the seconds it took, or None when it took longer."""
    began = time.monotonic()
    wanted = {write.job_id for write in book.acknowledged}
    while True:
        ((done,),) = stack.rows("SELECT count(*) FROM receipts WHERE owner_id = %s", str(book.user.owner))
        if done >= len(wanted) and wanted <= outcomes(stack, book).keys():
            return time.monotonic() - began
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.1)


def check(stack: Stack, book: Book) -> Verdict:
    """The verdict on a system that is at rest. It takes all data from Redis on the way."""
    kept = outcomes(stack, book)
    verdict = Verdict(len(book.acknowledged))
    _check_effects(stack, book, kept, verdict)
    verdict.unsettled = unsettled(stack, book, "orders")
    verdict.illegal += book.illegal
    verdict.wrong_status += told_otherwise(stack, book, kept)
    return verdict


def unsettled(stack: Stack, book: Book, *queues: str) -> list[str]:
    """Queues, leases and indexes that hold jobs, though all are final; after the time it takes to tell an outcome
    once more, where the worker died that should have."""
    sets = [keys.live_jobs(str(book.user.owner)), keys.SCHEDULED]
    sets += [of(queue) for queue in queues for of in (keys.leases, keys.started)]
    lists = [keys.queue(queue) for queue in queues]
    deadline = time.monotonic() + TOLD_WITHIN_LEASES * stack.settings.lease_seconds
    while True:
        with closing(broker.connect(stack.settings.redis_url, timeout=5)) as redis:
            left = {key: redis.llen(key) for key in lists} | {key: redis.zcard(key) for key in sets}
        found = [f"{count} in {key}" for key, count in left.items() if count]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _check_effects(stack: Stack, book: Book, kept: dict[str, Outcome], verdict: Verdict) -> None:
    happened = effects.logged(stack, book.user.owner)
    for write in book.writes:
        judge(write, kept.get(write.job_id), happened.pop((write.effect, write.row_id), 0), verdict)
    asked = {write.job_id for write in book.writes}
    verdict.unexpected += [f"{name} is {kept[name]}" for name in kept.keys() - asked]
    verdict.unexpected += [f"{op} of {row_id}, {times} times" for (op, row_id), times in happened.items()]


def judge(write: Write, outcome: Outcome | None, times: int, verdict: Verdict) -> None:
    """A write that was never acknowledged may have happened or not; if it has, it is judged like any other."""
    name = f"{write.method} {write.job_id}"
    if write.acknowledged is not None and write.tries > 1:
        verdict.recovered.append(name)
    if outcome is None:
        verdict.lost += [f"{name} has no outcome"] * (write.acknowledged is not None)
        verdict.unexpected += [f"{name} has no outcome, and happened {times} times"] * bool(times)
        return
    if outcome != write.outcome:
        verdict.wrong_status.append(f"{name} is {outcome}, not {write.outcome}")
    if outcome[0] != "succeeded":
        verdict.unexpected += [f"{name} is {outcome}, and happened {times} times"] * bool(times)
    elif times == 0:
        verdict.lost.append(f"{name} succeeded, and left no effect")
    if times > 1:
        verdict.duplicated.append(f"{name} happened {times} times")


def told_otherwise(stack: Stack, book: Book, kept: dict[str, Outcome]) -> list[str]:
    """Where the API tells an outcome otherwise than PostgreSQL, or otherwise than before once Redis has lost everything;
    which it has then."""
    before, wrong = _told(book, kept, "")
    stack.lose_redis_data()
    after, later = _told(book, kept, " once Redis is empty")
    changed = [f"{name} is told otherwise once Redis is empty" for name in before if before[name] != after[name]]
    return wrong + later + changed


def _told(book: Book, kept: dict[str, Outcome], when: str) -> tuple[dict[str, Job], list[str]]:
    """Some jobs, asked for one by one; and where the API tells an outcome otherwise than PostgreSQL has it, of those or
    in the list of all."""
    wrong = []
    some = sorted(kept)[:: len(kept) // LOOKED_AT_ONE_BY_ONE + 1]
    one_by_one, listed = by_threads(4, book.user.job, some), book.user.listed()
    for job in [*one_by_one, *listed]:
        told = (job["status"], job["error"] and job["error"]["code"])
        if kept.get(job["id"]) != told:
            wrong.append(f"{job['id']} is told as {told}{when}, and is {kept.get(job['id'])}")
    if len(listed) != len(kept):
        wrong.append(f"{len(listed)} jobs are listed{when}, and there are {len(kept)}")
    return {job["id"]: job for job in one_by_one}, wrong
