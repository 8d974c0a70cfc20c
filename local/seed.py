"""The people of local mode: an administrator and two users, with passwords that only this checkout knows."""

from __future__ import annotations

import secrets
from typing import TypedDict

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import create_engine, func, make_url, select
from sqlalchemy.orm import Session

from models.migrate import DRIVER
from models.user import User

PEOPLE = {"admin@example.com": "admin", "user@example.com": "user", "other@example.com": "user"}


class Credentials(TypedDict):
    """How one of them signs in."""

    email: str
    password: str
    role: str


def new_people() -> list[Credentials]:
    """Everybody, with fresh passwords that keep the rules of CONTRACT.md §3."""
    return [Credentials(email=email, password=_password(), role=role) for email, role in PEOPLE.items()]


def seed(database_url: str, people: list[Credentials], *, ours: bool) -> list[str]:
    """Add those who are not there; returns whose password is not the one we hold.

    ours: the database belongs to this checkout alone, so a password that differs is set anew.
    """
    engine = create_engine(make_url(database_url).set(drivername=DRIVER))
    hasher = PasswordHasher()
    strangers = []
    with Session(engine) as session, session.begin():
        for person in people:
            email, password = person["email"], person["password"]
            found = session.scalar(select(User).where(func.lower(User.email) == email, User.deleted_at.is_(None)))
            if found is None:
                name = email.partition("@")[0].title()
                session.add(User(email=email, name=name, password_hash=hasher.hash(password), role=person["role"]))
            elif not _matches(hasher, found.password_hash, password):
                strangers.append(email)
                if ours:
                    found.password_hash = hasher.hash(password)
    engine.dispose()
    return [] if ours else strangers


def _matches(hasher: PasswordHasher, hashed: str, password: str) -> bool:
    try:
        return hasher.verify(hashed, password)
    except VerificationError:
        return False


def _password() -> str:
    """22 random characters, and one of each sort that the rules ask for; none that a shell would read."""
    return f"{secrets.token_urlsafe(16)}_aA1"
