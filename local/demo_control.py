"""Job control, in the demo: many writes in one request, one for later that is canceled, a job that is followed, and a queue that
is paused and goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
import requests

from local.client import Client
from local.demo_tasks import Demo

QUEUE = "tasks"
NDJSON = "application/x-ndjson"


def play(demo: Demo, user: Client, admin: Client) -> None:
    """Bulk, cancel, follow, pause. `user` has the tasks of the demo."""
    bulk(demo, user)
    cancel(demo, user)
    follow(demo, user)
    pause(demo, user, admin)


def bulk(demo: Demo, user: Client) -> None:
    lines: list[dict[str, Any]] = [
        {"kind": "tasks.create", "body": {"title": "One of three"}},
        {"kind": "tasks.create", "body": {"title": ""}},
        {"kind": "events.record", "body": {"name": "demo.bulk"}, "priority": "high"},
    ]
    body = b"\n".join(map(orjson.dumps, lines))

    def statuses() -> str:
        answer = user.post("/v1/bulk", body, NDJSON)
        told = [orjson.loads(line)["status"] for line in answer.content.splitlines()]
        return f"{answer.status_code}: {' '.join(map(str, told))}"

    demo.step("POST /v1/bulk, three lines, the second wrong", "200: 202 422 202", statuses)


def cancel(demo: Demo, user: Client) -> None:
    """A task that was to be made in an hour."""
    moment = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = f"/v1/tasks?run_at={moment}"
    answer: requests.Response = demo.step(
        "POST /v1/tasks?run_at=in an hour",
        "202 scheduled",
        lambda: user.send("POST", path, {"title": "Later"}),
        show=_status,
    )
    job = answer.json()["links"]["self"]
    demo.step("DELETE that job", "200 canceled", lambda: user.send("DELETE", job), show=_status)
    demo.step(
        "DELETE it again",
        "409 job_final",
        lambda: user.send("DELETE", job),
        show=user.outcome,
    )


def follow(demo: Demo, user: Client) -> None:
    """The stream of a batch, to its end."""
    items = [{"title": f"Follow {number}"} for number in range(2000)]
    job = user.send("POST", "/v1/tasks/batch", {"action": "create", "tasks": items}).json()
    demo.step(
        "GET /v1/jobs/{id}/events of a batch of 2,000",
        "a stream that ends with succeeded",
        lambda: f"a stream that ends with {user.followed(job['links']['events'])}",
    )


def pause(demo: Demo, user: Client, admin: Client) -> None:
    for who, client, expected in (("a user", user, "403 forbidden"), ("an admin", admin, "200 paused")):
        demo.step(
            f"POST /v1/queues/{QUEUE}/pause, as {who}",
            expected,
            partial(client.send, "POST", f"/v1/queues/{QUEUE}/pause"),
            show=_paused,
        )
    answer = demo.step(
        "POST /v1/tasks meanwhile, waiting for a second",
        "202 queued",
        lambda: user.send("POST", "/v1/tasks", {"title": "Meanwhile"}, headers={"Prefer": "wait=1"}),
        show=_status,
    )
    demo.step(
        f"POST /v1/queues/{QUEUE}/resume",
        "202 succeeded",
        lambda: (admin.send("POST", f"/v1/queues/{QUEUE}/resume"), user.outcome(answer))[1],
    )


def _status(answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.json().get('status')}"


def _paused(answer: requests.Response) -> str:
    content = answer.json()
    return f"{answer.status_code} {content.get('code') or ('paused' if content.get('paused') else 'not paused')}"
