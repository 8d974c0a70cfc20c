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
    executed, ends = defaultdict[str, list[Delivery]](list), defaultdict[str, list[float]](list)
    errors = Counter[tuple[str, str]]()
    for work, settlement in carried_out:
        delivery, verdict, outcome = work.delivery, settlement.verdict, work.outcome
        if isinstance(verdict, Final):
            if not isinstance(outcome, Done):
                continue
            if delivery.run == 1:
                ends[settlement.kind].append(_waited(delivery, verdict.finished_at))
            if outcome.error is not None:
                errors[settlement.kind, str(outcome.error.get("code"))] += 1
        if delivery.canceled_at is None and not isinstance(verdict, HandBack):
            executed[settlement.kind].append(delivery)
    for kind, deliveries in executed.items():
        tally.measure(WAIT, [_waited(each, each.started_at) for each in deliveries if each.run == 1], known(kind)[0])
        tally.measure(RUN, [seconds] * len(deliveries), known(kind)[0])
    for kind, values in ends.items():
        tally.measure(END_TO_END, values, known(kind)[0])
    for queue, jobs in Counter(each.queue for deliveries in executed.values() for each in deliveries).items():
        tally.measure(BATCH, (jobs,), queue)
    for (kind, code), jobs in errors.items():
        tally.count(ERRORS, known(kind)[0], code, by=jobs)


def _waited(delivery: Delivery, until: datetime) -> float:
    """Seconds since it could have been taken first, or again."""
    since, due = delivery.submitted_at, delivery.run_at
    if due is not None and due > since:
        since = due
    return max((until - since).total_seconds(), 0.0)
