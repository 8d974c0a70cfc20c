"""What answers look like: the shapes of models.views and of problems, for the OpenAPI document and its tests."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, RootModel

from api.shapes import NumberedMeta, Page, Problem, Shape
from jobs.kernel.outcome import State
from models.event import Delivery

Money = Annotated[str, Field(pattern=r"^\d+\.\d{2}$", description="a decimal with two places", examples=["100.00"])]


class Progress(Shape):
    """How far a job with many items has come."""

    done: int
    total: int


class Links(Shape):
    """Where to go on from a job."""

    self: str
    events: str
    resource: str | None = Field(description="404 until a job that creates it has succeeded")


class JobSummary(Shape):
    """A job as lists show it."""

    id: UUID
    kind: str = Field(examples=["orders.place"])
    status: State
    submitted_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    progress: Progress | None
    error: Problem | None
    links: Links


class Job(JobSummary):
    """A write on its way, and in the end its outcome."""

    result: Any = Field(description="once it has succeeded: the resource as a GET shows it")


class Order(Shape):
    """An order. Its id is that of the job that placed it."""

    id: UUID
    user_id: UUID
    customer_id: str = Field(examples=["customer-42"])
    services: list[str] = Field(examples=[["123", "456"]])
    total_fee: Money
    scheduled_for: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int = Field(ge=1, description="also in the `ETag`")


class User(Shape):
    """A user. Whoever registers, bears the id of the job of that."""

    id: UUID
    email: str = Field(examples=["ada@example.com"])
    name: str = Field(examples=["Ada Lovelace"])
    role: Literal["user", "admin"]
    disabled: bool = Field(description="cannot sign in")
    created_at: datetime
    updated_at: datetime
    version: int = Field(ge=1, description="also in the `ETag`")


class Service(Shape):
    """One entry of the catalogue of services."""

    code: str = Field(examples=["123"])
    name: str = Field(examples=["Inspection"])


class Task(Shape):
    """A task. Its id is that of the job that made it, unless that made several."""

    id: UUID
    user_id: UUID
    title: str = Field(examples=["Call the customer back"])
    description: str | None
    status: Literal["pending", "in_progress", "completed"]
    priority: Literal["low", "medium", "high"]
    due_date: datetime | None
    overdue_at: datetime | None = Field(description="when it was found to be past this due date, and not completed")
    created_at: datetime
    updated_at: datetime
    version: int = Field(ge=1, description="also in the `ETag`")


class TaskStats(Shape):
    """How many tasks there are, and of some sorts."""

    total: int
    completed: int
    in_progress: int
    pending: int
    high_priority: int
    overdue: int = Field(description="past due and not completed")


class Event(Shape):
    """An event. Its id is that of the job that recorded it, and what the event sink knows it by."""

    id: UUID
    user_id: UUID
    name: str = Field(examples=["invoice.paid"])
    details: dict[str, Any]
    delivery: Delivery = Field(description="to the event sink; `none`: there was no sink when it was recorded")
    delivered_at: datetime | None
    reason: str | None = Field(description="why it could not be delivered")
    created_at: datetime
    version: int = Field(ge=1, description="also in the `ETag`")


class SignedIn(Shape):
    """What signing in gives, and staying signed in. `expires_in`: seconds."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(examples=[900])
    refresh_token: str = Field("", description="only where it does not travel in its cookie")


class Session(Shape):
    """Somebody's sign-in, on one device."""

    id: UUID
    created_at: datetime
    last_used_at: datetime = Field(description="when its tokens were renewed last")
    expires_at: datetime = Field(description="unless its tokens are renewed before")
    user_agent: str | None = Field(description="what the client called itself", examples=["curl/8.5.0"])
    current: bool = Field(description="whether it is the one that asks")


class Circuit(Shape):
    """How a service outside stands, that jobs ask."""

    state: Literal["closed", "open", "half_open"] = Field(
        description="closed: it is asked; open: it is not; half_open: by a few at a time, to see whether it is back"
    )
    failures: int = Field(ge=0, description="of the last seconds; some of them open it")
    opened_at: datetime | None = Field(description="when it opened first since it was closed; null while it is closed")
    next_probe_at: datetime | None = Field(description="when the service is asked again; null unless it is open")


class Circuits(RootModel[dict[str, Circuit]]):
    """Circuits, by their names."""


class Check(Shape):
    """One thing that readiness looks at."""

    ok: bool
    detail: str


class Health(Shape):
    """The process answers."""

    status: Literal["ok"]


class Readiness(Shape):
    """Whether the service can do its work, and if not, why."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, Check]


class OrderPage(Page[Order]):
    """One page of orders."""


class TaskPage(Page[Task]):
    """One page of tasks."""

    meta: NumberedMeta


class EventPage(Page[Event]):
    """One page of events."""


class ServicePage(Page[Service]):
    """One page of the catalogue of services."""


class SessionPage(Page[Session]):
    """One page of sessions."""


class UserPage(Page[User]):
    """One page of users."""

    meta: NumberedMeta


class JobPage(Page[JobSummary]):
    """One page of jobs."""
