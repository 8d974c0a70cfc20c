"""Meters: what is counted of all processes together, and what it is called at /metrics (docs/how-to/monitor.md).

Each is a field, or several, of one hash in Redis (`keys.METERS`): its words with | between them, first what is counted,
then its labels, last of a distribution the bound of a bucket, or `sum`. So any process of the API knows all of it, and
it outlives whoever counted it. `BY_SCRIPTS` are counted where it happens, with the job itself; the others in the memory of a
process (`jobs.kernel.tally`), which adds them up every second (`jobs.kernel.counting`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.kernel import registry

JOB_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
HTTP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
JOBS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

MILLIONTHS = 1_000_000
"""What sums are kept in: whole numbers, which Redis adds without loss."""

ABOVE, SUM = "+Inf", "sum"
UNKNOWN = "unknown"
"""What stands for kinds that nobody has declared, whoever sent them: labels are few."""


@dataclass(frozen=True, eq=False, slots=True)
class Counter:
    """What is counted one by one. `word`: its own in Redis; `name`: outside, without `_total`."""

    word: str
    name: str
    help: str
    labels: tuple[str, ...] = ()

    def add(self, sums: dict[str, int], labels: Sequence[object], amount: int) -> None:
        """Add an amount to its field."""
        name = stem(self.word, labels)
        sums[name] = sums.get(name, 0) + amount


@dataclass(frozen=True, eq=False, slots=True)
class Histogram:
    """What is measured, and counted by how much it came to. `bounds`: of its buckets, each included, in what its name says."""

    word: str
    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    names: tuple[str, ...] = field(init=False)
    """Of its buckets, as they stand in their fields."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", (*(f"{bound:g}" for bound in self.bounds), ABOVE))

    def add(self, sums: dict[str, int], labels: Sequence[object], values: Sequence[float], times: int) -> None:
        """Add values, each so many times, to their buckets and to the sum; what clocks have made less than 0 as nothing."""
        found: dict[int, int] = {}
        for value in values:
            at = bisect_left(self.bounds, value)
            found[at] = found.get(at, 0) + times
        start = stem(self.word, labels)
        for at, count in found.items():
            name = f"{start}|{self.names[at]}"
            sums[name] = sums.get(name, 0) + count
        name = f"{start}|{SUM}"
        sums[name] = sums.get(name, 0) + max(0, round(sum(values) * times * MILLIONTHS))


Meter = Counter | Histogram

ACCEPTED = Counter("accepted", "millrace_jobs_accepted", "Jobs that were made", ("kind",))
FINISHED = Counter(
    "outcomes",
    "millrace_jobs_finished",
    "Jobs that became final, by their outcome; one that is run again, each time",
    ("kind", "outcome"),
)
RETRIES = Counter("retries", "millrace_job_retries", "Executions that raised, and are to be tried again", ("kind",))
SNOOZES = Counter("snoozes", "millrace_job_snoozes", "Executions that put a job off, and used up no attempt", ("kind",))
RERUNS = Counter("reruns", "millrace_job_reruns", "Failed jobs that somebody had run again", ("kind",))
REAPED = Counter("reaped", "millrace_jobs_reaped", "Jobs put back because their lease had run out", ("queue",))

BY_SCRIPTS = (ACCEPTED, FINISHED, RETRIES, SNOOZES, RERUNS, REAPED)

WAIT = Histogram(
    "wait",
    "millrace_job_queue_wait_seconds",
    "From when a job was due, or sent, to when a worker took it; of each execution of its first run",
    ("kind",),
    JOB_SECONDS,
)
RUN = Histogram(
    "run",
    "millrace_job_run_seconds",
    "What an execution took; of jobs that were carried out together, what all of them took",
    ("kind",),
    JOB_SECONDS,
)
END_TO_END = Histogram(
    "whole",
    "millrace_job_end_to_end_seconds",
    "From when a job was due, or sent, to when it was final; of its first run",
    ("kind",),
    JOB_SECONDS,
)
BATCH = Histogram("batch", "millrace_batch_jobs", "Jobs of a queue carried out together", ("queue",), JOBS)
ERRORS = Counter(
    "errors", "millrace_job_errors", "Jobs rejected or failed, by the code of their error", ("kind", "code")
)
TIMEOUTS = Counter(
    "timeouts",
    "millrace_job_timeouts",
    "Executions that outlasted the time-outs of their kinds, which ended their process",
    ("kind",),
)
LOST = Counter("lost", "millrace_leases_lost", "Leases that were another's by the time they were renewed", ("queue",))
HEARTBEATS = Counter(
    "heartbeats", "millrace_heartbeats_failed", "Duties of a worker's heart that Redis did not answer", ("duty",)
)
LOGGED = Counter(
    "logged", "millrace_log_events", "Lines of a log from warnings upwards, by what they tell of", ("level", "event")
)
REQUESTS = Counter("requests", "millrace_http_requests", "Requests answered", ("method", "route", "status"))
REQUEST = Histogram(
    "request",
    "millrace_http_request_duration_seconds",
    "From a request's head to its answer, waiting that it asked for included",
    ("method", "route"),
    HTTP_SECONDS,
)
REFUSED = Counter("refused", "millrace_http_requests_refused", "Requests refused unread, because there were too many")

METERS: tuple[Meter, ...] = (
    *BY_SCRIPTS,
    *(WAIT, RUN, END_TO_END, BATCH, ERRORS, TIMEOUTS, LOST, HEARTBEATS, LOGGED, REQUESTS, REQUEST, REFUSED),
)


def stem(word: str, labels: Sequence[object]) -> str:
    """The field of a counter, or what those of a distribution begin with."""
    return "|".join((word, *map(str, labels)))


def known(kind: str) -> tuple[str, str]:
    """The declared name of a kind, or of what it is an alias of, and its queue."""
    declared = registry.find(kind)
    return (declared.kind, declared.policy.queue) if declared else (UNKNOWN, UNKNOWN)
