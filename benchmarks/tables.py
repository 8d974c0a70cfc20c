"""The tables of a run, as rows of text: the bars, the peers, and the rest; and how Markdown writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.bars import BARS, Figures
from benchmarks.batches import ACTIONS
from benchmarks.figures import ratio

Row = tuple[str, ...]
NONE = "-"

BARS_HEAD: Row = ("what", "bar", "figure", "figure / bar", "")
PEERS_HEAD: Row = (
    "system",
    "orders/s, 1 worker process",
    "best on 2 cores",
    "Millrace is",
    "enqueue/s (bulk)",
    "Redis bytes per job pending / finished",
    "p50 / p99 ms at 50 jobs/s",
)


def number(value: float | None) -> str:
    """A figure with as many digits as mean something."""
    if value is None:
        return NONE
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def bar_rows(figures: Figures) -> list[Row]:
    """A row per bar: what, its target, what was seen, how much of the target that is, and the verdict."""
    return [
        (
            bar.about,
            f"{'≤' if bar.at_most else '≥'} {bar.target:,g} {bar.unit}",
            number(bar.value(figures)),
            number(bar.margin(figures)),
            bar.verdict(figures),
        )
        for bar in BARS
    ]


def peer_rows(figures: Figures, titles: Mapping[str, str]) -> list[Row]:
    """A row per system. `titles`: of those that took part, by name."""
    return [_peer_row(figures, name, title) for name, title in titles.items()]


def _peer_row(figures: Figures, name: str, title: str) -> Row:
    def of(what: str) -> float | None:
        return figures.get(f"{name}.{what}")

    times = ratio(figures.get("millrace.best"), of("best"))
    single, bulk = number(of("enqueue")), of("enqueue_bulk")
    at_a_time = of("concurrent")
    return (
        title,
        number(of("one")) + (f" ({number(at_a_time)} with 50 jobs at a time)" if at_a_time else ""),
        number(of("best")),
        f"{number(times)} x that" if times and name != "millrace" else NONE,
        f"{single} ({number(bulk)})" if bulk else single,
        f"{number(of('pending_bytes'))} / {number(of('finished_bytes'))}",
        _latency(figures, name),
    )


def _latency(figures: Figures, name: str) -> str:
    """A latency that was asked for and is none is one that grows without end."""
    p50 = figures.get(f"{name}.p50", 0)
    if p50 is None:
        return "cannot keep up"
    return f"{number(p50)} / {number(figures.get(f'{name}.p99'))}" if p50 else NONE


MORE_HEAD: Row = ("what", "figure", "unit")


def more_rows(figures: Figures) -> list[Row]:
    """What explains the bars: limits, scaling, parts of sums."""
    asked = (
        ("PostgreSQL, multi-row inserts of 500, 1 connection", "limit.one", "rows/s"),
        ("PostgreSQL, multi-row inserts of 500, 2 connections", "limit.two", "rows/s"),
        ("Millrace, 1 worker process", "millrace.one", "orders/s"),
        ("Millrace, 2 worker processes", "millrace.two", "orders/s"),
        ("Millrace, 4 worker processes", "millrace.four", "orders/s"),
        ("Millrace, 2 worker processes, 1,000 owners", "millrace.owners", "orders/s"),
        ("Millrace, 2 worker processes: processor time an order, workers", "millrace.two.workers_us", "µs"),
        ("Millrace, 2 worker processes: processor time an order, Redis", "millrace.two.redis_us", "µs"),
        ("Millrace, 2 worker processes: processor time an order, PostgreSQL", "millrace.two.postgres_us", "µs"),
        ("Millrace, submitting in chunks of 100, 1 client", "millrace.enqueue_bulk", "jobs/s"),
        *((f"batches of 10,000 tasks, {action}", f"batch.{action}", "items/s") for action in ACTIONS),
        ("POST /v1/orders, Millrace", "http.millrace", "requests/s"),
        ("POST /v1/orders, the service written plainly", "http.plain", "requests/s"),
        ("POST /v1/orders, a bare Flask 202", "http.bare", "requests/s"),
        ("POST /v1/bulk, lines without keys, 1 API process", "bulk.plain", "lines/s"),
        ("POST /v1/bulk, lines with a key each, 1 API process", "bulk.keyed", "lines/s"),
        ("a line of a bulk, without a key: processor time of the API", "bulk.plain.cpu", "µs"),
        ("a line of a bulk, with a key: processor time of the API", "bulk.keyed.cpu", "µs"),
        ("an empty view that checks a token, and one limit of Flask-Limiter: processor time", "reads.empty", "µs"),
        ("an empty view that checks a token, and counts as Millrace does: processor time", "reads.counted", "µs"),
        ("GET of an order: processor time, from the cache", "reads.cached.order", "µs"),
        ("GET of an order: processor time, from PostgreSQL", "reads.uncached.order", "µs"),
        ("GET of 20 orders: processor time, from the cache", "reads.cached.list", "µs"),
        ("GET of 20 orders: processor time, from PostgreSQL", "reads.uncached.list", "µs"),
        ("POST /v1/orders, 1 API process, alone: p50", "streams.alone.p50", "ms"),
        ("POST /v1/orders, 1 API process, alone: p99", "streams.alone.p99", "ms"),
        ("POST /v1/orders, 1 API process, beside 500 streams and 200 who wait: p50", "streams.beside.p50", "ms"),
        ("POST /v1/orders, 1 API process, beside 500 streams and 200 who wait: p99", "streams.beside.p99", "ms"),
        ("memory for each of these who listen", "streams.memory", "KiB"),
        ("whole request with Prefer: wait, p99", "latency.waited.p99", "ms"),
        ("idle worker process, proportional memory", "idle.proportional", "MiB"),
        ("its supervisor, resident memory", "idle.supervisor", "MiB"),
        ("100,000 jobs pending", "growth.small", "orders/s"),
        ("1,000,000 jobs pending", "growth.pending", "orders/s"),
        ("100,000 jobs pending, 10,000,000 orders stored", "growth.stored", "orders/s"),
    )
    return [(what, number(figures[name]), unit) for what, name, unit in asked if figures.get(name) is not None]


def markdown(head: Row, rows: Sequence[Row]) -> str:
    """The rows as a table; the first column is text, the others are set to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
