"""What calls look like, and what is told of them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.shapes import Page, Shape
from models.call import Status


class CallSummary(Shape):
    """A call as lists and streams show it. Its id is that of the job that places it."""

    id: UUID
    user_id: UUID
    phone_number: str = Field(examples=["+15005550006"])
    customer_name: str = Field(examples=["Ada Lovelace"])
    workflow: str = Field(examples=["support"])
    status: Status
    sid: str | None = Field(description="the provider's name for it, as soon as it is known")
    reason: str | None = Field(description="why it failed, or is open still")
    duration: int | None = Field(description="seconds")
    answered_by: str | None = Field(description="a person or a machine, where the provider tells", examples=["human"])
    created_at: datetime
    updated_at: datetime
    version: int = Field(ge=1, description="also in the `ETag`, and the `id` of an event")


class CallEvent(Shape):
    """A status that a call has had."""

    status: Status
    at: datetime
    source: str = Field(description="`worker`, `callback` or `reconciliation`", examples=["callback"])


class Call(CallSummary):
    """A call, with every status that it has had, in the order of a call's life."""

    timeline: list[CallEvent]


class CallCallback(BaseModel):
    """What Twilio says of a call. All that it sends is signed, also what is not named here."""

    model_config = ConfigDict(extra="allow")

    CallSid: str = Field("", examples=["CA0123456789abcdef0123456789abcdef"])
    CallStatus: str = Field("", examples=["in-progress"])
    SequenceNumber: str = Field("", description="counts the callbacks of one call", examples=["2"])
    Timestamp: str = Field("", description="RFC 2822", examples=["Sat, 31 Jan 2026 09:30:00 +0000"])
    CallDuration: str = Field("", description="seconds", examples=["42"])
    AnsweredBy: str = Field("", examples=["human"])


class CallPage(Page[CallSummary]):
    """One page of calls."""
