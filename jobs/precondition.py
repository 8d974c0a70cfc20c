"""What a write presumes of the resource it changes (CONTRACT.md §1): the version that its client has seen, or at least
that no newer write has come before it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobs.kernel.envelope import Job
from jobs.kernel.errors import Conflict, PreconditionFailed
from models import views


def same_version(job: Job[Any], version: int) -> None:
    """Raises PreconditionFailed when the job's client has named versions (If-Match), and this is none of them."""
    if job.if_match is not None and not {"*", views.etag(version)} & set(job.if_match):
        raise PreconditionFailed


def not_superseded(job: Job[Any], updated_at: datetime) -> None:
    """Raises Conflict (`superseded`) when the job is older than the last write to its resource, and names no version."""
    if job.if_match is None and job.moment < updated_at:
        raise Conflict("A newer write has changed this resource.", code="superseded")
