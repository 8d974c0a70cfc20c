"""The rules of the business as pure functions: values in, values out, the standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

TICK = timedelta(microseconds=1)
"""The smallest step of a time: one tick past the window is outside it."""


def first_free(moment: datetime, taken: Iterable[datetime], window: timedelta) -> datetime:
    """The first time from `moment` on that lies more than `window` away from every time in `taken`.

    It is `moment` itself when the order timing rule has nothing against it. Exactly `window` apart is too soon,
    because the rule says "within" (CONTRACT.md §4).
    """
    free = moment
    for other in sorted(taken):
        if abs(free - other) <= window:
            free = other + window + TICK
    return free
