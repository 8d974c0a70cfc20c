"""Lists: their query, their opaque cursor or page numbers, and the envelope around a page (CONTRACT.md §1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from math import ceil
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from jobs.kernel.errors import Invalid
from jobs.kernel.times import Time, from_micros, micros

MAC_BYTES = 12

MOST_PAGES = 1_000_000_000
"""Beyond any list there is; what comes before such a page can still be counted by PostgreSQL."""

Row = TypeVar("Row")
Position = list[Any]
"""Where a page ends: the sort key of its last row, as JSON values."""


def _with_plus(value: object) -> object:
    """A plus sign that was not percent-encoded arrives as a space, which RFC 3339 has no other use for."""
    return re.sub(r" (?=\d\d:\d\d$)", "+", value) if isinstance(value, str) else value


QueryTime = Annotated[Time, BeforeValidator(_with_plus)]
"""A time in a query string: RFC 3339 with an offset, as UTC."""


class ListQuery(BaseModel):
    """What every list can be asked: how many, and from where. Lists add their filters and sorts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(20, ge=1, le=100, description="the most items on a page")
    cursor: str | None = Field(
        None, max_length=512, description="`meta.next_cursor` of the page before, with the same filters and sort"
    )

    @property
    def number(self) -> int | None:
        """The page that is asked for by its number, and then all items are counted."""
        return None


class NumberedQuery(ListQuery):
    """What a list can be asked that has page numbers too."""

    page: int | None = Field(None, ge=1, le=MOST_PAGES, description="from 1 on, instead of `cursor`")

    @field_validator("page")
    @classmethod
    def _not_both(cls, page: int | None, given: ValidationInfo) -> int | None:
        if page is not None and given.data.get("cursor") is not None:
            raise ValueError("should not be given together with cursor")
        return page

    @property
    def number(self) -> int | None:
        return self.page


def position(query: ListQuery, secret: str) -> Position | None:
    """Where the page begins: after this position; None for the first page.

    Raises Invalid when the cursor is not one of ours, or was made for another list, sort or filter.
    """
    if query.cursor is None:
        return None
    try:
        sealed = base64.b64decode(query.cursor.encode("ascii") + b"=" * (-len(query.cursor) % 4), b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise _not_ours() from None
    mac, body = sealed[:MAC_BYTES], sealed[MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(query, body, secret)):
        raise _not_ours()
    place: Position = orjson.loads(body)
    return place


def page(
    rows: Sequence[Row],
    query: ListQuery,
    secret: str,
    *,
    show: Callable[[Row], dict[str, Any]],
    place: Callable[[Row], Position],
    total: int | None = None,
) -> dict[str, Any]:
    """The envelope of a page. `rows`: up to `limit` + 1 of them, the one too many telling that there is a next page.
    `total`: the items of all pages, of a page that was asked for by its number."""
    shown = rows[: query.limit]
    more = len(rows) > query.limit
    meta = {"limit": query.limit, "next_cursor": _seal(query, place(shown[-1]), secret) if more else None}
    if total is not None:
        meta |= {"page": query.number, "total_pages": ceil(total / query.limit), "total": total}
    return {"data": [show(row) for row in shown], "meta": meta}


def at(value: datetime | int | None, row_id: UUID) -> Position:
    """The position of a row in a list sorted by a value, then id."""
    return [micros(value) if isinstance(value, datetime) else value, row_id.hex]


def moment_and_id(place: Position) -> tuple[datetime, UUID]:
    """The sort key that `at` made a position of, where that begins with a time."""
    moment, row_id = place
    return from_micros(moment), UUID(hex=row_id)


def _seal(query: ListQuery, place: Position, secret: str) -> str:
    body = orjson.dumps(place)
    return base64.urlsafe_b64encode(_mac(query, body, secret) + body).decode().rstrip("=")


def _mac(query: ListQuery, body: bytes, secret: str) -> bytes:
    """Binds a position to the list, its filters and its sort, but not to the page's size or number."""
    asked = query.model_dump(mode="json", exclude={"limit", "cursor", "page"}, exclude_none=True)
    bound = orjson.dumps(["cursor", type(query).__name__, asked], option=orjson.OPT_SORT_KEYS)
    return hmac.digest(secret.encode(), bound + body, hashlib.sha256)[:MAC_BYTES]


def _not_ours() -> Invalid:
    message = "Should be a cursor of this list, with the same filters and sort"
    return Invalid(errors=[{"field": "cursor", "message": message}])
