"""The report on a batch: one log line per job, written in one go."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from jobs.kernel.envelope import load
from jobs.kernel.errors import Failed
from jobs.kernel.log import dumps
from jobs.kernel.outcome import Again
from models.views import instant
from workers.leases import Delivery
from workers.settle import Final, Settlement


def report(deliveries: Sequence[Delivery], settlements: Sequence[Settlement], worker: str, seconds: float) -> None:
    """Say how each job of a batch ended. `seconds`: what the whole batch took."""
    by_id = {delivery.id: delivery for delivery in deliveries}
    common = {
        "event": "job",
        "level": "info",
        "worker": worker,
        "batch": len(deliveries),
        "ms": round(seconds * 1000, 2),
    }
    events = [common | _one(by_id[settlement.lease.id], settlement) for settlement in settlements]
    if structlog.get_config()["processors"][-1:] and not _as_json():
        for event in events:
            structlog.get_logger(__name__).info(**event)
        return
    stamp = {"timestamp": instant(datetime.now(UTC))}
    sys.stdout.write("".join(dumps(event | stamp) + "\n" for event in events))
    sys.stdout.flush()


def _as_json() -> bool:
    return isinstance(structlog.get_config()["processors"][-1], structlog.processors.JSONRenderer)


def _one(delivery: Delivery, settlement: Settlement) -> dict[str, object]:
    try:
        envelope = load(delivery.data)
    except Failed:
        envelope = {}
    match settlement.verdict:
        case Final(state=state):
            status = state.value
        case Again():
            status = "scheduled"
        case _:
            status = "queued"
    return {
        "job_id": delivery.id,
        "request_id": envelope.get("request_id"),
        "kind": envelope.get("kind"),
        "queue": delivery.queue,
        "attempt": delivery.attempt,
        "status": status,
    }
