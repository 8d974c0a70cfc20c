"""The bars: what was set out to be reached, and whether it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.figures import ratio

Verdict = Literal["met", "not met", "no subject yet", "not measured"]
Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Bar:
    """One target. `figure`, `over`: names in the figures of a run; with `over` it is their ratio that counts.
    `scale`: what the ratio is multiplied with first. Without `figure`, what it is about does not exist yet."""

    about: str
    target: float
    unit: str
    figure: str | None = None
    over: str | None = None
    scale: float = 1
    at_most: bool = False

    def value(self, figures: Figures) -> float | None:
        """What counts, in `unit`; None where it was not measured."""
        if self.figure is None:
            return None
        found = figures.get(self.figure)
        if self.over is not None:
            found = ratio(found, figures.get(self.over))
        return None if found is None else found * self.scale

    def verdict(self, figures: Figures) -> Verdict:
        value = self.value(figures)
        if self.figure is None:
            return "no subject yet"
        if value is None:
            return "not measured"
        met = value <= self.target if self.at_most else value >= self.target
        return "met" if met else "not met"

    def margin(self, figures: Figures) -> float | None:
        """The figure over its target: for a floor, 1 or more is met; for a ceiling, 1 or less."""
        return ratio(self.value(figures), self.target)


TWO, ONE = "orders/s, 2 worker processes", "orders/s, 1 worker process"
HTTP = "POST /v1/orders accepted/s, 2 API processes"
LATENCY = "at 50 orders/s over HTTP"
BARS = (
    Bar(TWO, 15_000, "orders/s", "millrace.two"),
    Bar(f"{TWO}, against RQ's forking worker at its best", 200, "x", "millrace.two", "rq_worker.best"),
    Bar(f"{TWO}, against BullMQ at its best", 4, "x", "millrace.two", "bullmq.best"),
    # an order is two rows, the order and its receipt
    Bar(f"{TWO}, rows against plain multi-row inserts", 15, "%", "millrace.two", "limit.two", scale=2 * 100),
    Bar(ONE, 8_000, "orders/s", "millrace.one"),
    Bar(f"{ONE}, against 1 process of BullMQ as it comes", 5, "x", "millrace.one", "bullmq.one"),
    Bar("task batches of 10,000 items, 1 worker process, the slowest action", 20_000, "items/s", "batch.slowest"),
    Bar(f"{HTTP}, against the service written plainly", 2.5, "x", "http.millrace", "http.plain"),
    Bar(f"{HTTP}, against a bare Flask 202", 0.4, "x", "http.millrace", "http.bare"),
    Bar("POST /v1/bulk, lines accepted/s, 1 API process", 8_000, "lines/s", "bulk.plain"),
    Bar(f"{LATENCY}, accepted to committed, p50", 2.5, "ms", "latency.committed.p50", at_most=True),
    Bar(f"{LATENCY}, accepted to committed, p99", 6, "ms", "latency.committed.p99", at_most=True),
    Bar(f"{LATENCY}, whole request with Prefer: wait, p50", 8, "ms", "latency.waited.p50", at_most=True),
    Bar(
        "cached GET, server processor time, against an empty Flask view",
        *(1.3, "x", "reads.cached.order", "reads.empty"),
        at_most=True,
    ),
    Bar(
        "POST /v1/orders beside 500 streams and 200 who wait, 1 API process, against alone", 0.95, "x", "streams.ratio"
    ),
    Bar("Redis bytes per pending job", 800, "bytes", "millrace.pending_bytes", at_most=True),
    Bar("Redis bytes per finished job", 700, "bytes", "millrace.finished_bytes", at_most=True),
    Bar("drain rate with 1,000,000 jobs pending, against 100,000", 0.8, "x", "growth.pending", "growth.small"),
    Bar("drain rate with 10,000,000 orders stored, against none", 0.8, "x", "growth.stored", "growth.small"),
    Bar("idle worker process, share of a processor", 1, "%", "idle.processor", at_most=True),
    Bar("idle worker process, resident memory", 90, "MiB", "idle.resident", at_most=True),
)
