"""The end of the demo: the queues as they stand, what became of all jobs, and where to look next."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from local.client import Client

OUTCOMES = ("succeeded", "rejected", "failed", "canceled")
MOST = 1000
"""Jobs that are looked at, the newest."""


def show(console: Console, admin: Client, base_url: str) -> None:
    """Draw it. Raises what requests raises, KeyError and ValueError."""
    console.print(queues(admin.send("GET", "/v1/queues").json()["data"]))
    console.print(outcomes(_jobs(admin)))
    console.print(WHERE.format(base_url=base_url), markup=False, highlight=False)


def queues(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="The queues, now (GET /v1/queues)", title_justify="left")
    table.add_column("queue")
    for heading in ("waiting", "oldest, s", "running", "done a minute", "failed a minute", "workers"):
        table.add_column(heading, justify="right")
    for row in rows:
        age = row["oldest_age_seconds"]
        table.add_row(
            row["name"] + (" (paused)" if row["paused"] else ""),
            str(row["depth"]),
            "" if age is None else f"{age:.1f}",
            *(f"{row[name]:g}" for name in ("running", "done_per_minute", "failed_per_minute", "workers")),
        )
    return table


def outcomes(jobs: list[dict[str, Any]]) -> Table:
    """How the jobs ended, by kind."""
    counted = Counter((job["kind"], job["status"] if job["status"] in OUTCOMES else "waiting") for job in jobs)
    table = Table(title=f"What became of the last {len(jobs):,} jobs (GET /v1/jobs)", title_justify="left")
    table.add_column("kind")
    for heading in (*OUTCOMES, "waiting"):
        table.add_column(heading, justify="right")
    for kind in sorted({kind for kind, _ in counted}):
        table.add_row(kind, *(f"{counted[kind, state] or ''}" for state in (*OUTCOMES, "waiting")))
    return table


def _jobs(admin: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while len(found) < MOST:
        page = admin.send("GET", f"/v1/jobs?limit=100{cursor}").json()
        found += page["data"]
        if not page["meta"]["next_cursor"]:
            break
        cursor = f"&cursor={page['meta']['next_cursor']}"
    return found


WHERE = """
Where to look next
  {base_url}/docs       every route, to be tried out
  {base_url}/metrics    what Prometheus would see; deploy/grafana has a dashboard for it
  make flask ARGS="jobs list"        the same jobs at the command line; also jobs show, retry, cancel, dead
  make flask ARGS="queues list"      and queues pause, queues resume, workers list
  make flask ARGS="doctor"           is everything set up as it should be?
  docs/how-to/operate.md, docs/how-to/scale.md
"""
