"""The checker of calls: compares what was asked for and acknowledged with the carrier's own ledger, which has a line for every
dial it accepted and nothing unique in it; with what PostgreSQL holds; and with what the API tells.

It sorts what it finds as `tests.storm.checker` does. The effect of a call is a dial.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from datetime import datetime
from typing import NamedTuple

from local.carrier import Carrier, Dial
from models.call import FINAL
from tests.storm import checker
from tests.storm.book import Book, Outcome, Write
from tests.storm.checker import Verdict
from tests.system.stack import Stack

SUCCEEDED: Outcome = ("succeeded", None)
UNKNOWN: Outcome = ("failed", "outcome_unknown")
WITHOUT_A_CALL: dict[Outcome, str] = {
    ("failed", "not_placed"): "not_placed",
    ("failed", "worker_crashed"): "canceled",
}
"""How a job ends whose call the carrier never had, and what the call's own status is then."""

ROWS = """
    SELECT id::text, status, sid, (SELECT at FROM call_events WHERE call_id = calls.id AND status = 'not_placed')
    FROM calls WHERE owner_id = %s
    """
AMBIGUOUS = """
    SELECT calls.status, count(*) FROM calls JOIN call_events ON call_id = calls.id AND call_events.status = 'unknown'
    WHERE owner_id = %s GROUP BY 1 ORDER BY 2 DESC
    """
OPEN = """
    SELECT count(*) FROM calls LEFT JOIN receipts USING (id)
    WHERE calls.owner_id = %s AND status <> ALL(%s) AND error->>'code' IS DISTINCT FROM %s
    """


class Row(NamedTuple):
    """A call as PostgreSQL has it. `not_placed_at`: when it was given up as never placed."""

    status: str
    sid: str | None
    not_placed_at: datetime | None = None


class Ledger:
    """What the carrier has of the calls that were asked for. `dials`: by the call that their URL names."""

    def __init__(self, carrier: Carrier) -> None:
        self.dials: dict[str, list[Dial]] = defaultdict(list)
        for dial in list(carrier.dials):
            self.dials[dial.call].append(dial)
        self.statuses = {sid: call.status.replace("-", "_") for sid, call in carrier.calls.items()}


def until_ended(stack: Stack, book: Book, seconds: float) -> float | None:
    """Wait until every acknowledged call has its outcome, and has ended or is left unknown; the seconds it took, or None."""
    began = time.monotonic()
    if checker.until_final(stack, book, seconds) is None:
        return None
    final = [status.value for status in FINAL]
    while True:
        ((still_open,),) = stack.rows(OPEN, str(book.user.owner), final, UNKNOWN[1])
        if not still_open:
            return time.monotonic() - began
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.1)


def check(stack: Stack, book: Book, carrier: Carrier) -> Verdict:
    """The verdict on a system that is at rest. It takes all data from Redis on the way."""
    kept, ledger = checker.outcomes(stack, book), Ledger(carrier)
    rows = {call_id: Row(*more) for call_id, *more in stack.rows(ROWS, str(book.user.owner))}
    verdict = Verdict(len(book.acknowledged))
    for write in book.writes:
        judge(write, kept.get(write.job_id), rows.get(write.job_id), ledger, verdict)
    verdict.unexpected += _nobodys(stack, ledger)
    verdict.unexpected += [f"{name} is {kept[name]}" for name in kept.keys() - {write.job_id for write in book.writes}]
    verdict.unsettled = checker.unsettled(stack, book, "calls", "default")
    verdict.illegal += book.illegal
    verdict.wrong_status += checker.told_otherwise(stack, book, kept)
    return verdict


def judge(write: Write, outcome: Outcome | None, row: Row | None, ledger: Ledger, verdict: Verdict) -> None:
    """One request. A dial is looked for by the call that its URL names."""
    name, dials = write.job_id, ledger.dials.get(write.job_id, [])
    if write.acknowledged is not None and write.tries > 1:
        verdict.recovered.append(name)
    if len(dials) > 1:
        faults = ", ".join(dial.fault or "no fault" for dial in dials)
        verdict.duplicated.append(f"{name} was dialled {len(dials)} times ({faults})")
    if outcome is None:
        verdict.lost += [f"{name} has no outcome"] * (write.acknowledged is not None)
        verdict.unexpected += [f"{name} has no outcome, and was dialled"] * bool(dials)
        return
    if outcome == SUCCEEDED and not dials:
        verdict.lost.append(f"{name} succeeded, and nobody was phoned")
    if outcome in WITHOUT_A_CALL and dials:
        verdict.unexpected.append(f"{name} is {outcome}, and was dialled{_when(dials[0], row)}")
    wrong = _wrong(outcome, row, [dial.sid for dial in dials], ledger)
    verdict.wrong_status += [f"{name} is {outcome}, {row}: {wrong}"] if wrong else []


def ends(stack: Stack, book: Book) -> dict[str, int]:
    """How many calls have which status."""
    asked = "SELECT status, count(*) FROM calls WHERE owner_id = %s GROUP BY 1 ORDER BY 2 DESC"
    return dict(stack.rows(asked, str(book.user.owner)))


def ambiguous(stack: Stack, book: Book) -> str:
    """How many calls were unknown for a while, and how those ended."""
    found = dict(stack.rows(AMBIGUOUS, str(book.user.owner)))
    ends = ", ".join(f"{count} {status}" for status, count in found.items())
    return f"{sum(found.values())} unknown for a while ({ends})"


def dialled(book: Book, carrier: Carrier) -> Counter[int]:
    """How many calls of a book were dialled so many times."""
    dials = Ledger(carrier).dials
    return Counter(len(dials.get(write.job_id, ())) for write in book.writes)


def _wrong(outcome: Outcome, row: Row | None, sids: list[str], ledger: Ledger) -> str:
    """What is wrong with a call, by how its job ended and what the carrier has of it."""
    if outcome not in (SUCCEEDED, UNKNOWN, *WITHOUT_A_CALL):
        return "no end of a call"
    if row is None:
        return "" if outcome == ("failed", "worker_crashed") else "there is no such call"
    if outcome in WITHOUT_A_CALL and (row.status, row.sid) != (WITHOUT_A_CALL[outcome], None):
        return "not as its job ended"
    if outcome == UNKNOWN and row.status == "unknown" and row.sid is None:
        return ""
    if sids and outcome not in WITHOUT_A_CALL:
        if row.sid not in sids:
            return f"the carrier knows it as {sids}"
        if row.status != ledger.statuses[row.sid]:
            return f"the carrier says {ledger.statuses[row.sid]}"
    return ""


def _when(dial: Dial, row: Row | None) -> str:
    """Whether that came after it had been given up: a request that was stalled for so long on its way."""
    late = row is not None and row.not_placed_at is not None and datetime.fromisoformat(dial.at) > row.not_placed_at
    return " after that" if late else " before that"


def _nobodys(stack: Stack, ledger: Ledger) -> list[str]:
    """Dials for what is no call of ours."""
    known = {call_id for (call_id,) in stack.rows("SELECT id::text FROM calls")}
    return [f"{call or 'nothing'} was dialled, which nobody asked for" for call in ledger.dials.keys() - known]
