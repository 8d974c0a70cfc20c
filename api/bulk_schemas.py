"""What the lines of a bulk's answer look like, for the OpenAPI document and its tests."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field, RootModel

from api.schemas import JobSummary, Links
from api.shapes import Problem, Shape
from jobs.kernel.outcome import State


class BulkJob(Shape):
    """A job that was made of a line."""

    id: UUID
    kind: str = Field(examples=["orders.place"])
    status: State
    links: Links


class BulkAccepted(Shape):
    """A line that was accepted, as durably as a single write."""

    status: Literal[202]
    job: BulkJob


class BulkReplayed(Shape):
    """A line whose key had been used for this job before; the job as it now is."""

    status: Literal[202]
    replayed: Literal[True]
    job: JobSummary


class BulkRefused(Shape):
    """A line that was not accepted."""

    status: int = Field(ge=400, examples=[422])
    error: Problem


class BulkOutcome(RootModel[BulkAccepted | BulkReplayed | BulkRefused]):
    """What became of one line."""
