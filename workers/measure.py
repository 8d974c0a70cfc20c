"""What a batch adds to the meters: how long its jobs waited, ran and took in all, how many there were, and what was wrong.

What was not tried is left out, and what only met its receipt: whoever wrote that has counted it. Nobody has noted when a
job was queued that is run again, so of its later runs only the executions are measured.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime

from jobs.kernel.meters import BATCH, END_TO_END, ERRORS, RUN, WAIT, known
from jobs.kernel.outcome import Done
from jobs.kernel.tally import tally
from workers.leases import Delivery
from workers.settle import Final, HandBack, Settlement
from workers.work import Work


def measure(carried_out: Iterable[tuple[Work, Settlement]], seconds: float) -> None:
    """Note how jobs came out that were carried out together. `seconds`: what all of them took."""
    waits, wholes = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    runs, queues, errors = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for work, settlement in carried_out:
        verdict, delivery, kind, outcome = settlement.verdict, work.delivery, settlement.kind, work.outcome
        if isinstance(verdict, HandBack) or (isinstance(verdict, Final) and not isinstance(outcome, Done)):
            continue
        since = _queued_at(delivery)
        if delivery.canceled_at is None:
            runs[kind] += 1
            queues[delivery.queue] += 1
            if delivery.run == 1:
                waits[kind].append(max(0.0, (delivery.started_at - since).total_seconds()))
        if isinstance(verdict, Final) and delivery.run == 1:
            wholes[kind].append(max(0.0, (verdict.finished_at - since).total_seconds()))
        if isinstance(outcome, Done) and outcome.error is not None:
            errors[kind, str(outcome.error.get("code"))] += 1
    for measured, by_kind in ((WAIT, waits), (END_TO_END, wholes)):
        for kind, values in by_kind.items():
            tally.measure(measured, values, known(kind)[0])
    for kind, jobs in runs.items():
        tally.measure(RUN, [seconds] * jobs, known(kind)[0])
    for queue, jobs in queues.items():
        tally.measure(BATCH, (jobs,), queue)
    for (kind, code), jobs in errors.items():
        tally.count(ERRORS, known(kind)[0], code, by=jobs)


def _queued_at(delivery: Delivery) -> datetime:
    """When it could have been taken first, or again."""
    due = delivery.run_at
    return delivery.submitted_at if due is None or due < delivery.submitted_at else due
