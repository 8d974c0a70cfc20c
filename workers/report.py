"""The report on a batch: one log line per job, written in one go; and what is to be counted of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from jobs.kernel.log import dumps
from jobs.kernel.outcome import Again
from models.views import instant
from workers.measure import measure
from workers.settle import Final, Settlement
from workers.work import Work


def report(works: Sequence[Work], settlements: Sequence[Settlement], worker: str, seconds: float) -> None:
    """Say how each job of a batch ended. `seconds`: what the whole batch took."""
    by_id = {work.delivery.id: work for work in works}
    common = {"level": "info", "worker": worker, "batch": len(works), "ms": round(seconds * 1000, 2)}
    carried_out = [(by_id[settlement.lease.id], settlement) for settlement in settlements]
    measure(carried_out, seconds)
    events = [_one(work, settlement) for work, settlement in carried_out]
    if not _as_json():
        for event in events:
            structlog.get_logger(__name__).info("job", **common | event)
        return
    common |= {"event": "job", "timestamp": instant(datetime.now(UTC))}
    end = "," + dumps(common)[1:] + "\n"
    sys.stdout.write("".join([dumps(event)[:-1] + end for event in events]))
    sys.stdout.flush()


def _as_json() -> bool:
    return isinstance(structlog.get_config()["processors"][-1], structlog.processors.JSONRenderer)


def _one(work: Work, settlement: Settlement) -> dict[str, Any]:
    verdict = settlement.verdict
    if isinstance(verdict, Final):
        status = verdict.state.value
    else:
        status = "scheduled" if isinstance(verdict, Again) else "queued"
    return {
        "job_id": work.delivery.id,
        "request_id": work.request_id,
        "kind": work.envelope.get("kind") if work.envelope else None,
        "queue": work.delivery.queue,
        "attempt": work.delivery.attempt,
        "status": status,
    }
