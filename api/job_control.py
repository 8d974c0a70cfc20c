"""Job control: a job that is not over is canceled, and one that has failed is run again (CONTRACT.md §2, §9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import structlog
from flask import Flask, Response
from structlog.contextvars import bind_contextvars

from api import schemas, terms
from api.access import answers, caller, id_of
from api.documented import documented
from api.flight import aside
from api.jobs import accepted, over
from api.reads.dead_letters import letter_of
from api.services import services
from jobs.kernel.cancel import Canceled
from jobs.kernel.errors import NotFound
from jobs.kernel.outcome import State
from jobs.kernel.policy import Access
from jobs.kernel.record import JobRecord
from jobs.kernel.rerun import Rerun
from models.views import ident

log = structlog.get_logger(__name__)


def register(app: Flask) -> None:
    app.add_url_rule("/v1/jobs/<id>", "jobs.cancel", cancel_job, methods=["DELETE"])
    app.add_url_rule("/v1/jobs/<id>/retry", "jobs.retry", retry_job, methods=["POST"])
    app.add_url_rule("/v1/dead-letters/<id>/replay", "dead_letters.replay_one", replay_letter, methods=["POST"])


@answers()
@documented(
    "Cancel a job",
    description="200 with the job `canceled` where no worker ever had it. Otherwise 202: it ends as the worker that has it, or "
    "had it, can still decide, at its next safe point; what cannot be taken back any more, as a call that was placed, is "
    "brought to its end. 409 `job_final` where it is over.",
    response=schemas.Job,
    others={202: schemas.Job},
    problems=(409,),
    waits=True,
)
def cancel_job(id: str) -> Response:
    """A receipt wins: it is looked for first, and where that cannot be done, nothing is canceled."""
    terms.query(terms.NoQuery)
    seconds = terms.wait_of_request()
    own, job = services(), _of_caller(id)
    at_once = own.control.cancel(job) is Canceled.CANCELED
    log.info("job_canceled" if at_once else "job_cancel_asked", kind=job.kind, by=ident(caller().id))
    if at_once:
        gone = replace(job, state=State.CANCELED, finished_at=datetime.now(UTC))  # Redis has lost it since
        return over(own.ledger.live([job.id]).get(job.id, gone), waited=seconds)
    return _followed(job.id, seconds)


@answers()
@documented(
    "Run a failed job again",
    description="As it was sent, with its attempts counted anew. Asked again while that is under way, nothing more is done. 409 "
    "`job_not_failed` for any other job, and `job_not_rerunnable` where nothing is left to run.",
    response=schemas.Job,
    status=202,
    others={200: schemas.Job},
    problems=(409,),
    waits=True,
)
def retry_job(id: str) -> Response:
    """Of many who ask at once, one begins the next run."""
    terms.query(terms.NoQuery)
    seconds = terms.wait_of_request()
    job = _of_caller(id)
    with aside():
        word = services().control.retry(job)
    if word is Rerun.NEW:
        log.info("job_retried", kind=job.kind, by=ident(caller().id))
    return _followed(job.id, seconds)


@answers(Access.ADMIN)
@documented(
    "Replay a dead letter",
    description="Its job runs again, as it was sent, with its attempts counted anew. Asked again while that is under way, "
    "nothing more is done. 409 `job_not_rerunnable` where nothing is left to run.",
    response=schemas.Job,
    status=202,
    others={200: schemas.Job},
    problems=(409,),
    waits=True,
)
def replay_letter(id: str) -> Response:
    """For any job that has failed, whoever it is of."""
    terms.query(terms.NoQuery)
    seconds = terms.wait_of_request()
    with aside():
        letter = letter_of(id)
    bind_contextvars(job_id=ident(letter.id))
    if services().control.replay(letter) is Rerun.NEW:
        log.info("dead_letter_replayed", kind=letter.kind, by=ident(caller().id))
    return _followed(letter.id, seconds)


def _of_caller(id: str) -> JobRecord:
    """The job as it now is, by its receipt if there is one. Raises NotFound; QueueDown, and one of DATABASE_ERRORS, where
    that cannot be told."""
    job_id = id_of(id)
    with aside():
        job = services().ledger.decided(job_id)
    if job is None or not caller().sees(job.owner):
        raise NotFound
    bind_contextvars(job_id=ident(job_id))
    return job


def _followed(job_id: UUID, seconds: int) -> Response:
    """The job as it now is, or as soon as it is final."""
    own = services()
    job = own.waiting.watch(job_id, seconds) if seconds else None
    job = job or own.ledger.find(job_id)
    if job is None:  # Redis has lost it since
        raise NotFound
    return accepted(job, waited=seconds)
