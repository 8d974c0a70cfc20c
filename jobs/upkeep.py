"""Upkeep: what is kept for some time only is pruned when that is over (docs/how-to/retention.md)."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic
from typing import Self

import structlog

from config import Settings
from jobs.kernel.command import Command
from jobs.kernel.envelope import Job
from jobs.kernel.outcome import succeeded
from jobs.kernel.policy import Access, Policy, Retry
from jobs.kernel.ports import Conclusion, Outside
from models import retention_store
from models.retention_store import BEGINNING, EVENTS, NOTICES, RECEIPTS, Kept, Place

log = structlog.get_logger(__name__)

PRUNED = Policy(queue="deliveries", access=Access.OPERATOR, retry=Retry(attempts=1), timeout=60)

TOGETHER = 1_000
"""Rows looked at in one transaction."""

PRUNED_WITHIN = 20.0
"""Seconds after which one execution begins no more, and leaves the rest to the next."""


class Prune(Command, kind="upkeep.prune", policy=PRUNED, every="prune_every_seconds"):
    """Prune what is not kept any longer: receipts, events, and notices that were sent."""

    def conduct(self, outside: Outside, job: Job[Self]) -> Conclusion:
        """In small transactions, a page of each in turn: so much that is left of one keeps no other waiting."""
        began, days = monotonic(), _days(outside.settings)
        pruned = {kept.table: 0 for kept in (RECEIPTS, EVENTS, NOTICES)}
        places: dict[Kept, Place] = dict.fromkeys(days, BEGINNING)
        while places:
            for kept, after in tuple(places.items()):
                outside.insist()
                with outside.transaction() as ctx:
                    before = ctx.now - timedelta(days=days[kept])
                    count, place = retention_store.prune(ctx.session, kept, before, after, TOGETHER)
                pruned[kept.table] += count
                if place is None:
                    del places[kept]
                else:
                    places[kept] = place
            if monotonic() - began > PRUNED_WITHIN:
                log.warning("prune_unfinished", left=[kept.table for kept in places], **pruned)
                break
        return lambda ctx: succeeded(pruned)


def _days(settings: Settings) -> dict[Kept, int]:
    """For how long each is kept; what is kept for ever is left out."""
    days = {
        RECEIPTS: settings.receipt_retention_days,
        EVENTS: settings.event_retention_days,
        NOTICES: settings.receipt_retention_days,
    }
    return {kept: given for kept, given in days.items() if given}
