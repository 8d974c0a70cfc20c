"""What is measured in each mode, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, replace

PEERS = {
    "rq_worker": "RQ `Worker` (forks)",
    "rq_simple": "RQ `SimpleWorker`",
    "celery_app": "Celery",
    "dramatiq_app": "dramatiq",
    "huey_app": "huey",
}
"""Python peers: the name of the file in `benchmarks/systems`, and its title."""

BULLMQ = ("bullmq", "BullMQ (Node)")
MILLRACE = ("millrace", "Millrace")
TITLES = {**PEERS, BULLMQ[0]: BULLMQ[1], MILLRACE[0]: MILLRACE[1]}
"""In the order of the tables."""


@dataclass(frozen=True)
class Plan:
    """The sizes of one mode. All times are seconds; whatever is not done after `most_seconds` is given up.

    `scaling`: whether Millrace is measured with 4 processes, and with many owners, as well.

    `backlog`: Millrace's jobs; a peer gets as many as take it about `peer_seconds`. `pending`, `stored`: what growth is
    measured with, none where 0. `crowds`: of those who only listen.
    """

    name: str
    most_seconds: int
    rounds: int
    scaling: bool
    backlog: int
    peer_seconds: float
    paced_seconds: float
    idle_seconds: float
    http_seconds: float
    http_rounds: int
    limit_seconds: float
    batches: int
    crowds: int
    pending: int = 0
    stored: int = 0


QUICK = Plan(
    "quick",
    most_seconds=300,
    rounds=1,
    scaling=False,
    backlog=20_000,
    peer_seconds=1.2,
    paced_seconds=3,
    idle_seconds=5,
    http_seconds=2,
    http_rounds=2,
    limit_seconds=1,
    batches=3,
    crowds=1,
)
STANDARD = Plan(
    "standard",
    most_seconds=2_400,
    rounds=3,
    scaling=True,
    backlog=100_000,
    peer_seconds=4,
    paced_seconds=10,
    idle_seconds=30,
    http_seconds=5,
    http_rounds=5,
    limit_seconds=4,
    batches=10,
    crowds=4,
)
FULL = replace(STANDARD, name="full", most_seconds=6_000, pending=1_000_000, stored=10_000_000)
PLANS = {plan.name: plan for plan in (QUICK, STANDARD, FULL)}
