"""Times: RFC 3339 outside, UTC datetimes inside, and microseconds since 1970 in Redis."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def read(value: object) -> datetime:
    """An RFC 3339 time with an offset, as UTC; a datetime that has one passes. Raises ValueError with the reason."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if not isinstance(value, str) or not RFC3339.fullmatch(value):
        raise ValueError("should be an RFC 3339 time with an offset, like 2026-01-31T09:30:00Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("should lie within the years 1 to 9999") from None


Time = Annotated[datetime, BeforeValidator(read), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time as clients write it, for the fields of commands and queries."""


def micros(value: datetime) -> int:
    """Microseconds since 1970."""
    delta = value.astimezone(UTC) - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(value: int) -> datetime:
    """The UTC time of microseconds since 1970, exactly. Raises ValueError, OverflowError or OSError out of range."""
    seconds, rest = divmod(value, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
