"""What every answer is made of: objects that have the members they say and no others, pages of a list, problems."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")


class Shape(BaseModel):
    """One JSON object of an answer; it has these members and no others."""

    model_config = ConfigDict(extra="forbid")


class Meta(Shape):
    """Where a page stands in its list."""

    limit: int = Field(ge=1, le=100)
    next_cursor: str | None = Field(description="give it as `cursor` for the next page; null on the last one")


class NumberedMeta(Meta):
    """Where a page stands in its list, and by its number where it was asked for by that."""

    page: int = Field(1, ge=1, description="only where `page` was given, as the next two")
    total_pages: int = Field(0, ge=0)
    total: int = Field(0, ge=0, description="how many items there are on all pages")


class Page(Shape, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    meta: Meta


class FieldError(Shape):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error (RFC 9457). Some carry members of their own, as `allowed_at` and `retry_after`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:millrace:problem:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no such resource."])
    code: str = Field(pattern=r"^[a-z0-9_]+$", description="stable; meant for programs", examples=["not_found"])
    request_id: str | None = Field(None, examples=["6f1c1a52c1f84f0c9c0e"])
    errors: list[FieldError] | None = None
