"""Overload: five times the clients that keep the API busy, each asking again as soon as it is answered."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.http import load
from local.processes import wait_until
from tests.storm import effects
from tests.storm.raw import requests_of
from tests.storm.row import Control, Result, Row, Trial
from tests.system.stack import Stack

API_PROCESSES = 2
AT_PEAK, TIMES = 32, 5
"""Connections that keep every process busy, and how many times as many there are in overload."""

GOODPUT, SLOWER, QUICKLY = 0.9, 3.0, 1.0
"""Of the peak; than at the peak, at 99 %; seconds in which a refusal comes, at 99 %."""


@dataclass(frozen=True)
class Measured:
    """The system as busy as it can be, and then asked for five times as much."""

    peak: load.Outcome
    over: load.Outcome


def run(trial: Trial) -> Result:
    calm, seconds = trial.pick(15, 5), trial.pick(60, 8)
    with trial.stack(api_processes=API_PROCESSES, max_queue_depth=10_000_000) as stack:
        found = measured(stack, calm, seconds)
        with stack.workers(2, 500):
            done = all_done(stack, found.peak.answers[202] + found.over.answers[202])
    result = _result(found, seconds)
    result.want(done, "not every accepted write was carried out")
    return result


def measured(stack: Stack, calm: float, seconds: float) -> Measured:
    """What is accepted waits on its queue: workers would take their part of the machine, now more and now less."""
    requests = requests_of(stack.person(), stack.port)
    warm = load.closed_loop(stack.port, requests, connections=AT_PEAK, seconds=2)
    peak = load.closed_loop(stack.port, requests, connections=AT_PEAK, seconds=calm)
    peak.answers += warm.answers
    return Measured(peak, load.closed_loop(stack.port, requests, connections=TIMES * AT_PEAK, seconds=seconds))


def _result(found: Measured, seconds: float) -> Result:
    peak, over = found.peak, found.over
    slowest, asked = load.percentile(over.refusals, 0.99) / 1000, sum(over.answers.values()) / seconds
    p99, baseline, share = over.latency(0.99), peak.latency(0.99), over.rate / peak.rate
    result = Result(
        f"peak {peak.rate:.0f}/s with {AT_PEAK} clients, p99 {baseline:.0f} ms; {TIMES} times the clients for {seconds} s asked "
        f"{asked:.0f} times a second: accepted {over.rate:.0f}/s, {share:.0%} of the peak, p99 {p99:.0f} ms, "
        f"{p99 / baseline:.1f} x; answers {dict(over.answers)}, 99 % of the refusals within {slowest:.2f} s"
    )
    result.want(set(over.answers) <= {202, 429, 503}, f"other answers: {dict(over.answers)}")
    result.want(share >= GOODPUT, f"goodput is {share:.0%} of the peak")
    result.want(p99 <= SLOWER * baseline, f"p99 of the accepted is {p99 / baseline:.1f} x that at the peak")
    result.want(bool(over.refusals), "nothing was refused")
    result.want(not over.refusals or slowest <= QUICKLY, f"refused after {slowest:.1f} s")
    return result


def all_done(stack: Stack, accepted: int, seconds: float = 120) -> bool:
    """Whether there come to be as many effects as writes were accepted."""
    return wait_until(lambda: effects.count(stack) >= accepted, within=seconds, every=0.5)


ROW = Row(
    "overload",
    "goodput ≥ 90 % of the peak; p99 of the accepted ≤ 3 x that at the peak; the rest 429/503 quickly",
    run,
    (Control("nothing was refused", "no_shedding"),),
)
