"""The stream of what becomes of a job (CONTRACT.md §2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from time import time
from uuid import UUID

import orjson
from flask import Flask, Response
from redis import Redis

from api import limits
from api.access import answers, known_caller, lasts
from api.documented import EventsOf, documented
from api.following import Snapshot
from api.jobs import shown
from api.places import Places
from api.schemas import JobSummary
from api.services import services
from api.streams import Follower, Streams
from api.waiting import Waiting
from jobs.kernel import broker
from jobs.kernel.changes import Changes
from jobs.kernel.errors import QueueDown
from jobs.kernel.ledger import Ledger
from jobs.kernel.policy import Access
from jobs.kernel.record import MOST_DONE, JobRecord

HOLDER_FOLLOWS = 900.0
"""Seconds for which somebody without a token may follow a job: as long as an access token lasts."""


def register(app: Flask) -> None:
    app.add_url_rule("/v1/jobs/<id>/events", "jobs.events", events, methods=["GET"])


@answers(Access.HOLDER)
@documented(
    "Follow a job",
    description="Server-Sent Events: `event: status` where its status has changed, else `event: progress`; `id:` the version of "
    "the job, which grows; `data:` the job as lists show it. The present state comes at once, then each later one, and a "
    "comment every 15 seconds; it ends after a final state, and with the session or its access token. With `Last-Event-ID`, the "
    "present state comes if it is newer; 204 where nothing will. One that was submitted without a token is followed without "
    "one, by whoever holds its id, for 15 minutes at a time.",
    response=EventsOf(JobSummary),
    others={204: None},
    takes=("LastEventId",),
)
def events(id: str) -> Response:
    """The stream of one job that whoever asks may see."""
    job, who, own = shown(id), known_caller(), services()
    if who is None:
        follower = Follower(limits.address(), time() + HOLDER_FOLLOWS, lambda: True)
    else:
        follower = Follower(who.id, who.expires, partial(lasts, own.limits, who))
    return own.job_streams.response(job.id, _snapshot(job), follower)


def streams(redis: Redis, ledger: Ledger, waiting: Waiting, places: Places) -> Streams:
    """Those who follow jobs: what workers tell this process of final ones is looked at as soon as it is heard."""
    changes = Changes(redis, ledger)

    def look(known: Mapping[UUID, Snapshot]) -> dict[UUID, Snapshot | None]:
        found = changes.since(known).items()
        return {job_id: _snapshot(job, mark) if job else None for job_id, (job, mark) in found}

    def announce(job_id: UUID) -> bool:
        try:
            return ledger.notify_when_final(job_id, waiting.channel)
        except (QueueDown, broker.ResponseError):  # Redis is away, or full; then the looks find it
            return True

    made = Streams(look, places, stage=_stage, announce=announce)
    waiting.listen(made.stir)
    return made


def _snapshot(job: JobRecord, mark: bytes = b"") -> Snapshot:
    return Snapshot(job.version, orjson.dumps(job.view(with_result=False)), job.state.final, mark)


def _stage(version: int) -> int:
    """What of a job's version changes with its status alone."""
    return version // MOST_DONE
