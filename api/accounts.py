"""Accounts: whose email and password these are, and whether a token's user is still there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Row, TextClause, select, text

from api import passwords
from api.flight import aside
from api.services import services
from api.threads import beside_greenlets
from api.tokens import Refresh
from jobs.kernel.errors import AppError
from jobs.kernel.secret import SEALED
from jobs.kernel.submit import Submission, new_id
from jobs.users import RehashPassword
from models import User
from models.user import folded

BY_EMAIL = text(f"{folded('users.email')} = {folded(':email')}")

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    Found = Row[UUID, str, int, str]


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in."""

    id: UUID
    role: str
    session_version: int


def authenticate(email: str, password: str) -> Account | None:
    """Whose email and password these are; None for unknown, wrong, disabled and deleted, after the same time."""
    with aside():  # neither PostgreSQL nor the few threads that hash keep a write from being accepted
        found = _find(BY_EMAIL.bindparams(email=email))
        known = found.password_hash if found else None
        good = beside_greenlets(lambda: passwords.matches(known, password))
        if found is None or not good:
            return None
        if passwords.outdated(found.password_hash):
            _rehash(found, password)
    return Account(found.id, found.role, found.session_version)


def stands(user: UUID, session_version: int) -> bool:
    """Whether nothing has ended all sessions of a user since they were of this version, as PostgreSQL knows it: what is
    asked where Redis does not answer."""
    with aside():
        found = _find(User.id == user)
    return found is not None and found.session_version == session_version


def account_of(token: Refresh) -> Account | None:
    """Whom a refresh token was given to, as they are now; None when something has ended all of their sessions since."""
    with aside():
        found = _find(User.id == token.user)
    if found is None or found.session_version != token.session_version:
        return None
    return Account(found.id, found.role, found.session_version)


def _find(which: ColumnElement[bool] | TextClause) -> Found | None:
    columns = (User.id, User.role, User.session_version, User.password_hash)
    statement = select(*columns).where(which, User.deleted_at.is_(None), User.disabled_at.is_(None))
    with services().readers() as reader:
        return reader.execute(statement).one_or_none()


def _rehash(found: Found, password: str) -> None:
    """Have the password's hash made anew with today's parameters. Signing in does not depend on it."""
    fresh = beside_greenlets(lambda: passwords.hashed(password))
    members = {"user_id": found.id, "session_version": found.session_version, "password_hash": fresh}
    command = RehashPassword.model_validate(members, context=SEALED)
    try:
        services().submitter.submit(Submission(id=new_id(), command=command, owner=None))
    except AppError as unavailable:
        log.warning("rehash_not_queued", error=unavailable.code)
