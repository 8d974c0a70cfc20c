"""Puts the people of local mode into the database."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import Session

from local.people import Credentials
from models.session import psycopg2_url
from models.user import User


def seed(database_url: str, people: list[Credentials], *, ours: bool) -> list[str]:
    """Add those who are not there; returns whose password is not the one we hold.

    ours: the database belongs to this checkout alone, so a password that differs is set anew.
    """
    engine = create_engine(psycopg2_url(database_url))
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
