"""Who there is in local mode: an administrator and two users, with passwords that only this checkout knows."""

from __future__ import annotations

import secrets
from typing import TypedDict

PEOPLE = {"admin@example.com": "admin", "user@example.com": "user", "other@example.com": "user"}


class Credentials(TypedDict):
    """How one of them signs in."""

    email: str
    password: str
    role: str


def new_people() -> list[Credentials]:
    """Everybody, with fresh passwords that keep the rules of CONTRACT.md §3."""
    return [Credentials(email=email, password=_password(), role=role) for email, role in PEOPLE.items()]


def _password() -> str:
    """22 random characters, and one of each sort that the rules ask for; none that a shell would read."""
    return f"{secrets.token_urlsafe(16)}_aA1"
