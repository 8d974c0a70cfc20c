"""The main job, done by a client over HTTP: orders that succeed and orders that are refused, people who
come and go, tasks one by one and in batches, calls that are placed, each compared with what it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import requests
from rich.console import Console
from rich.table import Table

from local import demo_calls, demo_control, demo_picture, demo_tasks
from local.client import Client
from local.record import Description, Simulator


@dataclass(frozen=True)
class Step:
    """One request: what was asked, what should come of it, what came, and how long it took in milliseconds."""

    asked: str
    expected: str
    seen: str
    milliseconds: float

    @property
    def as_expected(self) -> bool:
        return self.seen == self.expected


@dataclass
class Demo:
    """The steps, in order, on customers that nobody has used before."""

    base_url: str
    passwords: Mapping[str, str]
    simulator: Simulator | None = None
    steps: list[Step] = field(default_factory=list)
    customer: str = field(default_factory=lambda: f"demo-{uuid4().hex[:12]}")
    admin: Client = field(init=False)

    def play(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Everything; returns the order rows and the calls read back at the end. Where a real carrier would place them,
        there are no calls."""
        user = self.sign_in("user@example.com")
        other = self.sign_in("other@example.com")
        self.step("GET /v1/services", "200: 123 456 789", lambda: self.services(user))
        order = self.orders(user)
        self.refusals(user)
        self.repeats(user)
        self.step("GET that order, as another user", "404 not_found", lambda: other.outcome(other.send("GET", order)))
        self.changes(user, order)
        caller = self.people(user)
        demo_tasks.play(self, caller, other)
        demo_control.play(self, caller, self.admin)
        calls = demo_calls.play(self, caller, self.simulator) if self.simulator else []
        rows: list[dict[str, Any]] = user.send("GET", f"/v1/orders?customer_id={self.customer}").json()["data"]
        self.step("GET /v1/orders of that customer", "1 row", lambda: f"{len(rows)} row{'s' * (len(rows) != 1)}")
        return rows, calls

    def sign_in(self, email: str, password: str = "") -> Client:
        answer = self.step(
            f"POST /v1/auth/login as {email}",
            "200",
            lambda: self.login(email, password or self.passwords[email]),
            show=lambda answer: str(answer.status_code),
        )
        answer.raise_for_status()
        told = answer.json()
        return Client(self.base_url, told["access_token"], told["refresh_token"])

    def login(self, email: str, password: str) -> requests.Response:
        """The answer to signing in, for which one has to wait where that was done often in this minute."""
        body = {"email": email, "password": password, "transport": "body"}
        answer = Client(self.base_url).send("POST", "/v1/auth/login", body)
        if answer.status_code == requests.codes.too_many_requests:
            sleep(int(answer.headers["Retry-After"]))
            answer = Client(self.base_url).send("POST", "/v1/auth/login", body)
        return answer

    def services(self, user: Client) -> str:
        answer = user.send("GET", "/v1/services")
        codes = sorted(service["code"] for service in answer.json()["data"])
        return f"{answer.status_code}: {' '.join(codes)}"

    def place(self, user: Client, customer: str, *services: str, **headers: str) -> requests.Response:
        body = {"services": list(services or ["123"]), "total_fee": "100.00", "customer_id": customer}
        return user.send("POST", "/v1/orders", body, headers=headers)

    def orders(self, user: Client) -> str:
        """One order that succeeds, and a second one too soon; returns the path of the first."""
        placed = self.step(
            "POST /v1/orders, a new customer",
            "202 succeeded",
            lambda: self.place(user, self.customer, "123", "456"),
            show=user.outcome,
        )
        self.step(
            "POST /v1/orders, the same customer again",
            "202 rejected order_too_soon, allowed_at given",
            lambda: self.too_soon(user, self.place(user, self.customer)),
        )
        return str(placed.json()["links"]["resource"])

    def too_soon(self, user: Client, answer: requests.Response) -> str:
        allowed_at = (user.job(answer).get("error") or {}).get("allowed_at")
        return user.outcome(answer) + (", allowed_at given" if allowed_at else "")

    def refusals(self, user: Client) -> None:
        self.step(
            "POST /v1/orders, an unknown service",
            "202 rejected unknown_service",
            lambda: self.place(user, f"{self.customer}-b", "999"),
            show=user.outcome,
        )
        self.step(
            "POST /v1/orders, malformed",
            "422 validation_failed (services, total_fee)",
            lambda: user.send("POST", "/v1/orders", {"services": [], "total_fee": "free"}),
            show=user.outcome,
        )
        anonymous = Client(self.base_url)
        self.step(
            "POST /v1/orders, not signed in",
            "401 unauthenticated",
            lambda: self.place(anonymous, self.customer),
            show=anonymous.outcome,
        )

    def repeats(self, user: Client) -> None:
        """The same request twice under one key."""
        key, customer = {"Idempotency-Key": str(uuid4())}, f"{self.customer}-c"
        first = self.step(
            "POST /v1/orders with an Idempotency-Key",
            "202 succeeded",
            lambda: self.place(user, customer, **key),
            show=user.outcome,
        )

        def again() -> str:
            second = self.place(user, customer, **key)
            same = second.json().get("id") == first.json()["id"]
            replayed = second.headers.get("Idempotency-Replayed", "false")
            return f"{'the same' if same else 'another'} job, Idempotency-Replayed: {replayed}"

        self.step("the same again, with the same key", "the same job, Idempotency-Replayed: true", again)

    def changes(self, user: Client, order: str) -> None:
        """An update too soon; then a delete, which frees the customer for another order."""
        self.step(
            "PATCH that order, as its owner",
            "202 rejected order_too_soon",
            lambda: user.send("PATCH", order, {"total_fee": "120.00"}),
            show=user.outcome,
        )
        self.step("DELETE it", "202 succeeded", lambda: user.send("DELETE", order), show=user.outcome)
        self.step(
            "POST /v1/orders for the customer it held",
            "202 succeeded",
            lambda: self.place(user, self.customer, "789"),
            show=user.outcome,
        )

    def people(self, user: Client) -> Client:
        """Somebody new, whose session ends when a refresh token is used twice, and who signs in again."""
        email, password = f"{self.customer}@example.com", f"{uuid4().hex}_aA1"
        person = {"email": email, "password": password, "name": "Somebody New"}
        self.admin = self.sign_in("admin@example.com")
        for sender, who, expected in ((user, "a user", "403 forbidden"), (self.admin, "an admin", "202 succeeded")):
            self.step(
                f"POST /v1/users, as {who}",
                expected,
                partial(sender.send, "POST", "/v1/users", person),
                show=sender.outcome,
            )
        new = self.sign_in(email, password)
        for asked, expected in (
            ("POST /v1/auth/refresh", "200"),
            ("the same refresh token again", "401 session_ended"),
        ):
            self.step(
                asked,
                expected,
                lambda: new.send("POST", "/v1/auth/refresh", {"refresh_token": new.refresh_token}),
                show=new.outcome,
            )
        self.step(
            "GET /v1/users/me, in the session that ended by that",
            "401 session_ended",
            lambda: new.outcome(new.send("GET", "/v1/users/me")),
        )
        return self.sign_in(email, password)

    def step(self, asked: str, expected: str, act: Callable[[], Any], show: Callable[[Any], str] = str) -> Any:
        """Do one thing, time it to its end, and keep what came of it."""
        began = monotonic()
        result = act()
        seen = show(result)
        self.steps.append(Step(asked, expected, seen, (monotonic() - began) * 1000))
        return result


def demonstrate(description: Description) -> bool:
    """Play the demo against a running stack and print it; whether everything came out as expected."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    passwords = {user["email"]: user["password"] for user in description["users"]}
    demo = Demo(description["base_url"], passwords, description["carrier"])
    rows: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    broken = ""
    try:
        rows, calls = demo.play()
    except (requests.RequestException, KeyError, ValueError) as error:
        broken = f"{type(error).__name__}: {error}"
    console.print(steps_table(demo.steps))
    if rows:
        console.print(rows_table(rows))
    if calls:
        console.print(demo_calls.table(calls))
    if not broken:
        demo_picture.show(console, demo.admin, description["base_url"])
    if broken:
        console.print(f"The demo could not go on: {broken}", style="red", markup=False)
    return not broken and all(step.as_expected for step in demo.steps)


def steps_table(steps: list[Step]) -> Table:
    table = Table(title="Over HTTP, each job followed to its end", title_justify="left")
    for heading in ("", "request", "expected", "seen"):
        table.add_column(heading)
    table.add_column("ms", justify="right")
    for step in steps:
        mark = "[green]ok[/]" if step.as_expected else "[red]NO[/]"
        table.add_row(mark, step.asked, step.expected, step.seen, f"{step.milliseconds:.0f}")
    return table


def rows_table(rows: list[dict[str, Any]]) -> Table:
    shown = [name for name in ("id", "customer_id", "services", "total_fee", "created_at") if name in rows[0]]
    table = Table(*shown, title="The order rows, read back", title_justify="left")
    for row in rows:
        table.add_row(*(", ".join(value) if isinstance(value := row[name], list) else str(value) for name in shown))
    return table
