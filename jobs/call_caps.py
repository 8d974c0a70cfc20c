"""How many calls a user, and a number, may have: counted by those that the carrier was really asked for (CONTRACT.md §1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from uuid import UUID

from limits import parse

from jobs.kernel.context import Context
from jobs.kernel.errors import RateLimited
from models import call_store

Count = Callable[[datetime], tuple[int, datetime | None]]
"""How many there were since, and when the first."""


def within(ctx: Context, owner: UUID, phone_number: str) -> None:
    """Raises RateLimited where a user has had too many calls, or a number."""
    _within(ctx, "rate_limit_calls_user", partial(call_store.asked_of, ctx.session, owner))
    _within(ctx, "rate_limit_calls_destination", partial(call_store.asked_to, ctx.session, phone_number))


def _within(ctx: Context, setting: str, asked: Count) -> None:
    notation = getattr(ctx.settings, setting)
    if not notation:
        return
    cap = parse(notation)
    window = timedelta(seconds=cap.get_expiry())
    count, first = asked(ctx.now - window)
    if count >= cap.amount and first is not None:
        wait = max(1, ceil((first + window - ctx.now).total_seconds()))
        raise RateLimited("Too many calls, of yours or to this number; try again later.", retry_after=wait)
