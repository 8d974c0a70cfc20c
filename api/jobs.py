"""Jobs as clients see them: one, and the list."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType

import orjson
from flask import Flask, Response
from pydantic import Field

from api import schemas, terms
from api.access import answers, caller, id_of, known_caller
from api.complete import Complete
from api.documented import documented
from api.reads.conditional import tagged
from api.reads.pages import ListQuery, at, moment_and_id, page, position
from api.services import services
from api.tokens import Caller
from jobs.kernel import registry
from jobs.kernel.errors import NotFound, Unauthenticated
from jobs.kernel.outcome import State
from jobs.kernel.policy import Access
from jobs.kernel.record import JobRecord
from models.views import ident

REPLAYED: Mapping[str, str] = MappingProxyType({"Idempotency-Replayed": "true"})
NONE: Mapping[str, str] = MappingProxyType({})


class JobsQuery(ListQuery):
    """What the list of jobs can be asked for."""

    status: State | None = None
    kind: str | None = Field(None, max_length=100, pattern=r"^[a-z0-9_.]+$")


def register(app: Flask) -> None:
    """Routes of jobs."""
    app.add_url_rule("/v1/jobs", "jobs.list", list_jobs)
    app.add_url_rule("/v1/jobs/<id>", "jobs.get", get_job)


@answers(Access.HOLDER)
@documented(
    "Read a job",
    description="One that was submitted without a token is read without one, by whoever holds its id.",
    response=schemas.Job,
    conditional=True,
    waits=True,
)
def get_job(id: str) -> Response:
    """One job as it is now, or with `Prefer: wait=N` as soon as it is final."""
    seconds = terms.wait_of_request()
    job = shown(id)
    if seconds and not job.state.final:
        job = services().waiting.watch(job.id, seconds) or job
    body = orjson.dumps(job.view())
    response = tagged(body, sha256(body).hexdigest()[:16])
    if seconds and job.state.final:
        response.headers["Preference-Applied"] = f"wait={seconds}"
    return response


@answers()
@documented(
    "List jobs",
    description="Your own, newest first; an admin sees everyone's. Results are left out.",
    response=schemas.JobPage,
    query=JobsQuery,
)
def list_jobs() -> Response:
    """The caller's jobs, newest first; of everybody for an admin."""
    query = terms.query(JobsQuery)
    secret = services().settings.secret_key
    start = position(query, secret)
    who = caller()
    jobs = services().ledger.page(
        None if who.role == "admin" else who.id,
        state=query.status,
        kind=query.kind,
        before=moment_and_id(start) if start is not None else None,
        limit=query.limit + 1,
    )
    shown = page(
        jobs,
        query,
        secret,
        show=lambda job: job.view(with_result=False),
        place=lambda job: at(job.submitted_at, job.id),
    )
    return _json(shown, 200)


def shown(id: str) -> JobRecord:
    """The job of an id, as it is now, to whoever asks for it and may see it. Raises NotFound, or Unauthenticated."""
    who = known_caller()
    try:
        job = services().ledger.find(id_of(id))
        if job is None or not _visible(job, who):
            raise NotFound
    except NotFound:
        if who is None:  # and what there is, is told to nobody who is not known
            raise Unauthenticated from None
        raise
    return job


def _visible(job: JobRecord, who: Caller | None) -> bool:
    if who is not None and who.sees(job.owner):
        return True
    kind = registry.find(job.kind)
    return job.owner is None and kind is not None and kind.policy.access is Access.ANYONE


def accepted(job: JobRecord, *, waited: int = 0, headers: Mapping[str, str] = NONE) -> Response:
    """The answer to a write: 202 with its job, or 200 when the job was waited for and is final."""
    if waited > 0 and job.state.final:
        return over(job, waited=waited, headers=headers)
    return _json(job.view(), 202, _location(job), ("Retry-After", "1"), *headers.items())


def over(job: JobRecord, *, waited: int = 0, headers: Mapping[str, str] = NONE) -> Response:
    """The answer to a write whose job is final: 200."""
    applied = [("Preference-Applied", f"wait={waited}")] if waited else []
    return _json(job.view(), 200, _location(job), *applied, *headers.items())


def _location(job: JobRecord) -> tuple[str, str]:
    return "Location", f"/v1/jobs/{ident(job.id)}"


def _json(value: object, status: int, *headers: tuple[str, str]) -> Response:
    return Complete(orjson.dumps(value), status, headers, content_type="application/json")
