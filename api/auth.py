"""Signing in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal
from uuid import UUID

import orjson
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select

from api import body
from api.access import guard
from api.documented import documented
from api.flight import aside
from api.services import services
from api.threads import beside_greenlets
from api.tokens import LIFETIME
from jobs.kernel.errors import Unauthenticated
from jobs.kernel.policy import Access
from models import User


class Login(BaseModel):
    """What signing in takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    email: str = Field(min_length=3, max_length=320, examples=["user@example.com"])
    password: str = Field(min_length=1, max_length=128, examples=["Correct-horse1"])
    transport: Literal["cookie", "body"] = Field("cookie", description="how a refresh token is to travel")


class SignedIn(BaseModel):
    """What signing in gives. `expires_in`: seconds."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(examples=[LIFETIME])


@dataclass(frozen=True, slots=True)
class Account:
    """What signing in needs to know of a user."""

    id: UUID
    role: str
    session_version: int


def register(app: Flask) -> None:
    """Routes of signing in."""
    app.add_url_rule("/v1/auth/login", "auth.login", login, methods=["POST"])
    _nobodys_hash()  # now: made at the first unknown email, it would double the time that this one takes


@guard(Access.ANYONE)
@documented(
    "Sign in",
    description="Answers an access token for 15 minutes. Limited by address and by account.",
    response=SignedIn,
    body=Login,
    problems=(401, 429, 503),
)
def login() -> Response:
    """Sign in, with a password; answers a token for 15 minutes."""
    limits = services().limits
    limits.count_login_address()
    asked = body.load(Login)
    limits.count_login_account(asked.email.lower())
    account = authenticate(asked.email, asked.password)
    if account is None:
        raise Unauthenticated("Email or password is wrong.", code="invalid_credentials")
    return signed_in(account)


def signed_in(account: Account) -> Response:
    """The answer to whoever has signed in."""
    token = services().tokens.issue(account.id, role=account.role, session_version=account.session_version)
    answer = {"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME}
    return Response(orjson.dumps(answer), content_type="application/json")


def authenticate(email: str, password: str) -> Account | None:
    """Whose email and password these are; None for unknown, wrong, disabled and deleted, after the same time."""
    query = select(User.id, User.role, User.session_version, User.password_hash).where(
        func.lower(User.email) == email.lower(), User.deleted_at.is_(None), User.disabled_at.is_(None)
    )
    with aside():  # neither PostgreSQL nor the few threads that hash keep a write from being accepted
        with services().sessions() as session:
            row = session.execute(query).one_or_none()
        hashed = row.password_hash if row else _nobodys_hash()
        good = beside_greenlets(lambda: _matches(hashed, password))
    return Account(row.id, row.role, row.session_version) if row and good else None


def _matches(password_hash: str, password: str) -> bool:
    try:
        return PasswordHasher().verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys_hash() -> str:
    """Verified against where there is no user, so that this takes as long as where there is one."""
    return PasswordHasher().hash("nobody's password")
