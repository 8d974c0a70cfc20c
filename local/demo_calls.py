"""Calls, in the demo: followed from request to end by what the carrier simulator tells over HTTP, one that is busy, one that
fails, and one whose answer is lost and found again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol
from uuid import uuid4

import requests
from rich.table import Table

from local.client import Client
from local.record import Simulator

ENDED = {"completed", "busy", "no_answer", "failed", "canceled", "not_placed"}
ENDED_WITHIN = 30
STORIES = (
    ("0199", "somebody answers", "requested dialing queued initiated ringing in_progress completed"),
    ("0101", "busy", "requested dialing queued initiated ringing busy"),
    ("0103", "the carrier fails", "requested dialing queued initiated failed"),
    ("0111", "the carrier's answer is lost, and reconciled", "requested dialing unknown completed"),
)
"""The last four digits that a simulated call goes by, and what is to be seen of it."""

AREAS = (212, 312, 415, 503, 617, 702, 808, 907)


class Demo(Protocol):
    """What a part of the demo needs of the whole."""

    def step(self, asked: str, expected: str, act: Callable[[], Any], show: Callable[[Any], str] = str) -> Any: ...


def play(demo: Demo, user: Client, simulator: Simulator) -> list[dict[str, Any]]:
    """Place calls; returns them as they were read back at the end."""
    prefix = f"+1{random.choice(AREAS)}{random.randint(200, 999)}"  # noqa: S311 - numbers of nobody, seldom twice
    placed = [followed(demo, user, prefix + number, about, story) for number, about, story in STORIES]
    once(demo, user, prefix + "0198", simulator)
    refusals(demo, user, prefix)
    return placed


def followed(demo: Demo, user: Client, number: str, about: str, story: str) -> dict[str, Any]:
    """One call, from request to end, and every status it has had."""
    answer = demo.step(f"POST /v1/calls, {about}", "202 succeeded", lambda: place(user, number), show=user.outcome)
    path = str(answer.json()["links"]["resource"])
    call: dict[str, Any] = demo.step(
        "GET that call, until it has ended", story, lambda: until_ended(user, path), show=told
    )
    return call


def told(call: dict[str, Any]) -> str:
    return " ".join(event["status"] for event in call["timeline"])


def once(demo: Demo, user: Client, number: str, simulator: Simulator) -> None:
    """The same request again and again is one call; another to that number has to wait for its end."""
    key = {"Idempotency-Key": str(uuid4())}

    def repeated() -> str:
        ids = {place(user, number, **key).json()["id"] for _ in range(5)}
        (job_id,) = ids
        user.job(user.send("GET", f"/v1/jobs/{job_id}"))
        return f"{len(ids)} job, dialled {dials(simulator, job_id)} time"

    demo.step("POST /v1/calls, 5 times with one key", "1 job, dialled 1 time", repeated)
    demo.step(
        "POST /v1/calls to that number meanwhile",
        "202 rejected call_in_progress",
        lambda: place(user, number),
        show=user.outcome,
    )


def refusals(demo: Demo, user: Client, prefix: str) -> None:
    demo.step(
        "POST /v1/calls, to no number",
        "422 validation_failed (phone_number)",
        lambda: place(user, "555-0123"),
        show=user.outcome,
    )
    demo.step(
        "POST /v1/calls, refused by the carrier",
        "202 rejected call_refused",
        lambda: place(user, prefix + "0109"),
        show=user.outcome,
    )
    demo.step(
        "POST /v1/webhooks/twilio/status, signed by somebody else",
        "403 bad_signature",
        lambda: user.send("POST", "/v1/webhooks/twilio/status", headers={"X-Twilio-Signature": "AAAA"}),
        show=user.outcome,
    )
    demo.step("GET /v1/circuits", "carrier closed, event_sink closed", partial(circuits, user))


def place(user: Client, number: str, **headers: str) -> requests.Response:
    body = {"phone_number": number, "customer_name": "Ada Lovelace", "workflow": "reminder"}
    return user.send("POST", "/v1/calls", body, headers=headers)


def until_ended(user: Client, path: str) -> dict[str, Any]:
    deadline = monotonic() + ENDED_WITHIN
    while True:
        call: dict[str, Any] = user.send("GET", path).json()
        if call.get("status") in ENDED or monotonic() > deadline:
            return call
        sleep(0.1)


def dials(simulator: Simulator, call_id: str) -> int:
    """How often the simulator was asked for a call, by its own ledger."""
    lines = Path(simulator["ledger"]).read_text().splitlines()
    return sum(json.loads(line).get("call") == call_id for line in lines)


def circuits(user: Client) -> str:
    told = user.send("GET", "/v1/circuits").json()
    return ", ".join(f"{name} {circuit['state']}" for name, circuit in sorted(told.items()))


def table(calls: list[dict[str, Any]]) -> Table:
    shown = Table(
        "to", "status", "its timeline", title="The calls, by the carrier simulator's callbacks", title_justify="left"
    )
    for call in calls:
        began = call["timeline"][0]["at"][11:19]
        steps = " → ".join(event["status"] for event in call["timeline"])
        shown.add_row(f"…{call['phone_number'][-4:]}", call["status"], f"{began} {steps}")
    return shown
