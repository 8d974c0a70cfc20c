"""What queues look like to those who operate them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.shapes import Meta, Page, Shape


class Depths(Shape):
    """How many jobs wait, by their priority."""

    high: int
    normal: int
    low: int


class Finished(Shape):
    """How many jobs have become final, by how."""

    succeeded: int
    rejected: int
    failed: int
    canceled: int


class Queue(Shape):
    """A queue, as it stands."""

    name: str = Field(examples=["orders"])
    way: Literal["batch", "threads"] = Field(
        description="how its workers work: many jobs at a time in one go, or apart"
    )
    paused: bool = Field(description="workers take nothing from it; it accepts as ever")
    depth: int = Field(description="jobs that wait, of all priorities")
    depth_by_priority: Depths
    oldest_age_seconds: float | None = Field(
        description="how long the first in line has been queued, of the priority where that is longest; null: none waits"
    )
    running: int = Field(description="jobs that workers hold")
    done_per_minute: int = Field(description="jobs that became final in the last full minute, however they ended")
    failed_per_minute: int = Field(description="those of them that have failed")
    totals: Finished = Field(description="since Redis was empty last")
    workers: int = Field(description="worker processes that live")


class QueueMeta(Meta):
    """Where a page stands in its list, and what waits to be queued."""

    scheduled: int = Field(description="jobs that wait for a time, whatever queue they go to then")


class QueuePage(Page[Queue]):
    """One page of queues."""

    meta: QueueMeta
