"""How fast one worker process does batches of tasks: sent over HTTP while it is halted, then let go."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter, sleep

import requests

from benchmarks.processes import family, halted
from benchmarks.servers import Servers
from benchmarks.service import Client, serving
from benchmarks.system import System

ITEMS = 10_000
"""The most that one batch takes (CONTRACT.md §6)."""

DONE_WITHIN = 120
ACTIONS = ("create", "update", "complete", "delete")
IDS = "SELECT id::text FROM tasks ORDER BY id"


def batch_rates(system: System, batches: int) -> dict[str, float]:
    """Items per second, by action, of so many batches of ITEMS in one worker process; the same tasks all the time. Raises
    RuntimeError where an item is not done, or time runs out."""
    servers = system.servers
    servers.empty()
    rates = {}
    with system.working("one") as workers, serving(servers) as client:
        _timed(servers, client, [{"action": "create", "tasks": [{"title": "warm"}]}])
        _timed(servers, client, [{"action": "delete", "tasks": [name for (name,) in servers.rows(IDS)]}])
        for action in ACTIONS:
            bodies = _bodies(servers, action, batches)
            with halted(family(workers)):
                jobs = [_sent(client, body) for body in bodies]
            rates[action] = batches * ITEMS / _until_done(servers, jobs)
    return rates


def _timed(servers: Servers, client: Client, bodies: Sequence[dict[str, object]]) -> float:
    return _until_done(servers, [_sent(client, body) for body in bodies])


def _bodies(servers: Servers, action: str, batches: int) -> list[dict[str, object]]:
    if action == "create":
        tasks = [{"title": f"Letter {number}", "due_date": "2030-01-31T09:30:00Z"} for number in range(ITEMS)]
        return [{"action": action, "tasks": tasks}] * batches
    ids = [name for (name,) in servers.rows(IDS)]
    more: dict[str, object] = {"set": {"priority": "high"}} if action == "update" else {}
    return [{"action": action, "tasks": ids[at : at + ITEMS], **more} for at in range(0, batches * ITEMS, ITEMS)]


def _sent(client: Client, body: dict[str, object]) -> str:
    """The job of a batch."""
    answer = requests.post(
        f"http://127.0.0.1:{client.port}/v1/tasks/batch",
        json=body,
        headers={"Authorization": f"Bearer {client.token}"},
        timeout=30,
    )
    answer.raise_for_status()
    return str(answer.json()["id"])


def _until_done(servers: Servers, jobs: Sequence[str]) -> float:
    """Seconds from now until all of them have committed. Only those count of which every item was done."""
    began = perf_counter()
    done = """
        SELECT count(*) FROM receipts
        WHERE id = ANY(CAST(%(jobs)s AS uuid[])) AND state = 'succeeded' AND NOT CAST(result AS jsonb) @? '$.items[*].success ? (@ == false)'
    """
    count = "SELECT count(*) FROM receipts WHERE id = ANY(CAST(%(jobs)s AS uuid[]))"
    while servers.rows(count, {"jobs": list(jobs)}) != [(len(jobs),)]:
        if perf_counter() - began > DONE_WITHIN:
            raise RuntimeError("not every batch was done in time")
        sleep(0.01)
    taken = perf_counter() - began
    if servers.rows(done, {"jobs": list(jobs)}) != [(len(jobs),)]:
        raise RuntimeError("not every item was done")
    return taken
