"""Following jobs from the command line until they are over, with a bar where somebody watches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from api.services import services
from jobs.kernel.record import JobRecord

PAUSE = 0.1
"""Seconds between two looks."""

WAIT = click.option(
    "--wait",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds without any news to give up after; 0 for not to wait.",
)


def follow(ids: Sequence[UUID], patience: float, label: str) -> dict[UUID, JobRecord]:
    """The jobs as they are when all are final, or nothing has become of any for so many seconds. Raises what the ledger does."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task(label, total=None)
        jobs = _look(ids)
        heard = time.monotonic()
        while any(not job.state.final for job in jobs.values()) and time.monotonic() - heard < patience:
            done, total = _how_far(jobs)
            progress.update(bar, completed=done, total=total)
            time.sleep(PAUSE)
            seen, jobs = jobs, _look(ids)
            heard = time.monotonic() if _news(seen, jobs) else heard
    return jobs


def _look(ids: Sequence[UUID]) -> dict[UUID, JobRecord]:
    found = {job_id: services().ledger.find(job_id) for job_id in ids}
    return {job_id: job for job_id, job in found.items() if job is not None}


def _news(before: dict[UUID, JobRecord], now: dict[UUID, JobRecord]) -> bool:
    return any(job_id not in before or before[job_id].version != job.version for job_id, job in now.items())


def _how_far(jobs: dict[UUID, JobRecord]) -> tuple[int, int | None]:
    """How many are over, of how many; of a single one, of its items, where it tells."""
    if len(jobs) > 1:
        return sum(job.state.final for job in jobs.values()), len(jobs)
    told = next((job.progress for job in jobs.values() if job.progress), None)
    return (told["done"], told["total"]) if told else (0, None)
