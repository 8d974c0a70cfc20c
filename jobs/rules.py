"""The rules of the business as pure functions: values in, values out, the standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from string import ascii_lowercase, ascii_uppercase, digits

SYMBOLS = "@$!%*?&#^_-"
"""A password has one of these at least (CONTRACT.md §3)."""

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


def missing_in_password(password: str) -> list[str]:
    """What a password lacks of what it has to have (CONTRACT.md §3), in words; its length is looked at elsewhere."""
    wanted = {
        "a lower case letter": ascii_lowercase,
        "an upper case letter": ascii_uppercase,
        "a digit": digits,
        f"one of {SYMBOLS}": SYMBOLS,
    }
    return [name for name, letters in wanted.items() if not set(letters) & set(password)]
