"""Tasks and events, in the demo: one task, a thousand in a batch of which some are wrong, a read that is kept until somebody
writes, and an event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol
from uuid import uuid4

import requests

from local.client import Client

MANY = 1000


class Demo(Protocol):
    """What a part of the demo needs of the whole."""

    def step(self, asked: str, expected: str, act: Callable[[], Any], show: Callable[[Any], str] = str) -> Any: ...


def play(demo: Demo, user: Client, other: Client) -> None:
    """A task and reads of it, batches, an event. `user` has had none before."""
    path = one(demo, user)
    kept(demo, user, path)
    batches(demo, user, other)
    event(demo, user)


def one(demo: Demo, user: Client) -> str:
    body = {"title": "Call the customer back", "priority": "high", "due_date": "2020-01-31T09:30:00Z"}
    answer = demo.step(
        "POST /v1/tasks", "202 succeeded", lambda: user.send("POST", "/v1/tasks", body), show=user.outcome
    )
    return str(answer.json()["links"]["resource"])


def kept(demo: Demo, user: Client, path: str) -> None:
    """A read, the same again, and once more after a write."""
    for asked, expected in (
        ("GET that task, twice", "high X-Cache: miss, high X-Cache: hit"),
        ("GET it after PATCH … low has succeeded", "low X-Cache: miss, low X-Cache: hit"),
    ):
        if "PATCH" in asked:
            user.job(user.send("PATCH", path, {"priority": "low"}))
        demo.step(asked, expected, lambda: ", ".join(_seen(user.send("GET", path)) for _ in range(2)))


def _seen(answer: requests.Response) -> str:
    return f"{answer.json()['priority']} X-Cache: {answer.headers.get('X-Cache')}"


def batches(demo: Demo, user: Client, other: Client) -> None:
    """A thousand tasks made by one job, then completed by another, with some that are wrong in between."""
    titles: list[dict[str, object]] = [{"title": f"Letter {number}"} for number in range(MANY)]
    titles[17], titles[42] = {"title": ""}, {"title": "Letter 42", "colour": "red"}
    items = demo.step(
        f"POST /v1/tasks/batch, create {MANY:,}, two of them wrong",
        f"{MANY - 2} done, 2 validation_failed",
        lambda: run(user, action="create", tasks=titles),
        show=counted,
    )
    made = [item["task_id"] for item in items if item["success"]]
    foreign = other.job(other.send("POST", "/v1/tasks", {"title": "Somebody else's"}))["result"]["id"]
    ids = [*made, foreign, str(uuid4())]
    demo.step(
        "the same with complete, one of another user and one of nobody",
        f"{len(made)} done, 2 not_found",
        lambda: run(user, action="complete", tasks=ids),
        show=counted,
    )
    demo.step(
        "delete them all or none, with atomic",
        "202 rejected batch_rejected",
        lambda: user.send("POST", "/v1/tasks/batch", {"action": "delete", "tasks": ids, "atomic": True}),
        show=user.outcome,
    )
    demo.step(
        "GET /v1/tasks/stats",
        f"{MANY - 1} in all, {MANY - 2} completed, 1 overdue",
        lambda: "{total} in all, {completed} completed, {overdue} overdue".format(
            **user.send("GET", "/v1/tasks/stats").json()
        ),
    )
    demo.step(
        "GET /v1/tasks?search=letter 99, counted",
        "11 tasks",
        lambda: f"{user.send('GET', '/v1/tasks?search=letter+99&page=1').json()['meta']['total']} tasks",
    )


def run(user: Client, **batch: object) -> list[dict[str, Any]]:
    """A batch, and what became of each of its items."""
    job = user.job(user.send("POST", "/v1/tasks/batch", batch))
    items: list[dict[str, Any]] = (job.get("result") or {}).get("items", [])
    return items


def counted(items: list[dict[str, Any]]) -> str:
    """`998 done, 2 validation_failed`."""
    found = Counter("done" if item["success"] else item["error"]["code"] for item in items)
    return ", ".join(f"{number} {code}" for code, number in found.most_common())


def event(demo: Demo, user: Client) -> None:
    answer = demo.step(
        "POST /v1/events",
        "202 succeeded",
        lambda: user.send("POST", "/v1/events", {"name": "demo.seen", "details": {"by": "make demo"}}),
        show=user.outcome,
    )
    path = str(answer.json()["links"]["resource"])
    demo.step("GET that event", "demo.seen", lambda: user.send("GET", path).json()["name"])
