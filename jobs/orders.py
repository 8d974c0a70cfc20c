"""Orders: placed, replaced, amended, deleted; and what a client may say of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.outcome import Outcome
from jobs.kernel.policy import Policy, Retry
from jobs.kernel.private import PRIVATE
from jobs.kernel.times import Time
from jobs.order_book import OrderBook
from models import Order

ORDERS = Policy(queue="orders", retry=Retry(attempts=5, base=0.5, cap=60), timeout=30)


def _unlike(codes: list[str]) -> list[str]:
    if len(set(codes)) < len(codes):
        raise ValueError("a service is named twice")
    return codes


ServiceCode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Services = Annotated[
    list[ServiceCode],
    Field(min_length=1, max_length=50, description="codes of the catalogue, `GET /v1/services`", examples=[["123"]]),
    AfterValidator(_unlike),
]
NUMBERS = (Decimal, int, float)
MONEY = re.compile(r"\d{1,10}(\.\d{1,2})?", re.ASCII)


def _money(value: object) -> Decimal:
    """An amount: a decimal string with two places at most, or a JSON number."""
    if isinstance(value, NUMBERS) and not isinstance(value, bool):
        value = format(Decimal(str(value)) or Decimal(0), "f")  # also makes nothing of a minus before nothing
    if not isinstance(value, str) or not MONEY.fullmatch(value):
        raise ValueError('should be an amount of 0 or more with at most two decimal places, like "100.00"')
    return Decimal(value)


Fee = Annotated[
    Decimal,
    BeforeValidator(_money),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{MONEY.pattern}$"}, {"type": "number", "minimum": 0}]}),
    Field(description="money", examples=["100.00"]),
]
CustomerId = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,64}$"),
    Field(description="your own reference; by default your user id", examples=["customer-42"]),
    PRIVATE,
]
ScheduledFor = Annotated[Time | None, Field(description="stored; has no effect on the timing rule")]
IfTooSoon = Annotated[
    Literal["reject", "wait"],
    Field(description="what the order timing rule does: reject, or wait for the first moment that is accepted"),
]


class OrderCommand(Command, policy=ORDERS):
    """What changes orders: decided together, because one order's change can make room for another."""

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        return OrderBook(ctx, jobs).decide()

    def values(self) -> dict[str, Any] | None:
        """The columns this command sets; None when it takes the order away."""
        return None


class TimedCommand(OrderCommand):
    """What the order timing rule has a say in."""

    if_too_soon: IfTooSoon = "reject"

    def values(self) -> dict[str, Any] | None:
        return {name: value for name, value in vars(self).items() if name != "if_too_soon"}


class PlaceOrder(TimedCommand, kind="orders.place", route="POST /v1/orders", creates=True):
    """Place an order.

    Refused as `order_too_soon` when an order in the same scope was created or updated within the window.
    """

    services: Services
    total_fee: Fee
    customer_id: CustomerId | None = None
    scheduled_for: ScheduledFor = None


class ReplaceOrder(TimedCommand, kind="orders.replace", route="PUT /v1/orders/{id}", target=Order):
    """Replace an order: what is left out goes back to its default."""

    services: Services
    total_fee: Fee
    customer_id: CustomerId | None = None
    scheduled_for: ScheduledFor = None


class AmendOrder(TimedCommand, kind="orders.amend", route="PATCH /v1/orders/{id}", target=Order):
    """Amend an order: what is left out stays as it is."""

    services: Services = Field(default_factory=list)
    total_fee: Fee = Decimal(0)
    customer_id: CustomerId = ""
    scheduled_for: ScheduledFor = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set - {"if_too_soon"}:
            raise ValueError("names nothing to change")
        return self

    def values(self) -> dict[str, Any] | None:
        return {name: vars(self)[name] for name in self.model_fields_set - {"if_too_soon"}}


class DeleteOrder(OrderCommand, kind="orders.delete", route="DELETE /v1/orders/{id}", target=Order):
    """Delete an order. Never refused by the timing rule; frees what the order held."""
