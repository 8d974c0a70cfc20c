"""What a batch adds to the meters: how long its jobs waited, ran and took in all, how many there were, and what was wrong.

What was not tried is left out, and what only met its receipt: whoever wrote that has counted it. Nobody has noted when a
job was queued that is run again, so of its later runs only the executions are measured.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from jobs.kernel.meters import BATCH, END_TO_END, ERRORS, RUN, WAIT, known
from jobs.kernel.outcome import Done
from jobs.kernel.tally import tally
from workers.leases import Delivery
from workers.settle import Final, HandBack, Settlement
from workers.work import Work


def measure(carried_out: Iterable[tuple[Work, Settlement]], seconds: float) -> None:
    """Note how jobs came out that were taken, and carried out, together. `seconds`: what all of them took."""
    queues = Counter[str]()
    for (kind, finished_at), works in _together(carried_out).items():
        name, _ = known(kind)
        executed = [work.delivery for work in works if work.delivery.canceled_at is None]
        waits = [(each.started_at - _since(each)).total_seconds() for each in executed if each.run == 1]
        tally.measure(WAIT, waits, name)
        tally.measure(RUN, (seconds,), name, times=len(executed))
        queues.update([each.queue for each in executed])
        if finished_at is not None:
            took = (finished_at - works[0].delivery.started_at).total_seconds()
            tally.measure(END_TO_END, [wait + took for wait in waits] + _canceled(works), name)
            for code in _codes(works):
                tally.count(ERRORS, name, code)
    for queue, jobs in queues.items():
        tally.measure(BATCH, (jobs,), queue)


def _together(carried_out: Iterable[tuple[Work, Settlement]]) -> dict[tuple[str, datetime | None], list[Work]]:
    """What is to be measured, by kind and by when it was final; None of what was not. Jobs that one transaction has decided
    were final at one time, so that there is little to be done for each."""
    groups: dict[tuple[str, datetime | None], list[Work]] = defaultdict(list)
    for work, settlement in carried_out:
        verdict = settlement.verdict
        if isinstance(verdict, Final):
            if isinstance(work.outcome, Done):
                groups[settlement.kind, verdict.finished_at].append(work)
        elif not isinstance(verdict, HandBack):
            groups[settlement.kind, None].append(work)
    return groups


def _since(delivery: Delivery) -> datetime:
    """When it could have been taken first, or again."""
    due = delivery.run_at
    return delivery.submitted_at if due is None or due < delivery.submitted_at else due


def _canceled(works: Iterable[Work]) -> list[float]:
    """Seconds until those were canceled that no worker had had before."""
    return [(at - _since(work.delivery)).total_seconds() for work in works if (at := work.delivery.canceled_at)]


def _codes(works: Iterable[Work]) -> Iterator[str]:
    """The codes of the errors that these have ended with."""
    for work in works:
        if isinstance(work.outcome, Done) and work.outcome.error is not None:
            yield str(work.outcome.error.get("code"))
