"""Tokens: made and read by flask-jwt-extended, with everything that could be left open pinned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token, decode_token, get_csrf_token
from flask_jwt_extended.exceptions import CSRFError, JWTExtendedException
from jwt import ExpiredSignatureError, PyJWTError, decode

from api import sessions
from config import Settings
from jobs.kernel.errors import Unauthenticated

LIFETIME = 900
"""Seconds an access token is good for (CONTRACT.md §3)."""

ALGORITHM = "HS256"
PARTY = "millrace"
COMMON = frozenset({"exp", "iat", "nbf", "jti", "iss", "aud", "sub", "type", "sid", "session_version"})
CLAIMS = {"access": COMMON | {"role"}, "refresh": COMMON | {"csrf"}}
KNOWN = 10_000
INVALID = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever a request comes from. `session_version` is the one the token was given for; `expires`: when the token is good
    no more, in seconds since 1970."""

    id: UUID
    role: str
    session: str
    session_version: int
    expires: int

    def sees(self, owner: UUID | None) -> bool:
        """Whether what `owner` owns exists for this caller (CONTRACT.md §1: an admin sees all)."""
        return self.role == "admin" or owner == self.id


class Refresh(NamedTuple):
    """What a refresh token says: whose session it prolongs, and which of the session's tokens it is."""

    user: UUID
    session: str
    session_version: int
    jti: str


class Tokens:
    """Issues and reads tokens.

    A signature that was found good once stays good, so what an access token vouches for is remembered; the time of
    expiry is looked at on every use.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        keys = [key for key in (settings.jwt_secret_key, settings.jwt_secret_key_previous) if key]
        self._keys = {key_id(key): key for key in keys}
        self._headers = {"kid": key_id(keys[0])}
        self._known: dict[str, Caller] = {}
        app.config.update(
            JWT_SECRET_KEY=keys[0],
            JWT_ALGORITHM=ALGORITHM,
            JWT_DECODE_ALGORITHMS=[ALGORITHM],
            JWT_TOKEN_LOCATION=["headers", "cookies"],
            JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=LIFETIME),
            JWT_REFRESH_TOKEN_EXPIRES=timedelta(seconds=sessions.LIFETIME),
            JWT_ENCODE_ISSUER=PARTY,
            JWT_DECODE_ISSUER=PARTY,
            JWT_ENCODE_AUDIENCE=PARTY,
            JWT_DECODE_AUDIENCE=PARTY,
            JWT_COOKIE_SECURE=True,
            JWT_COOKIE_SAMESITE="Strict",
            JWT_REFRESH_COOKIE_PATH="/v1/auth",
        )
        JWTManager(app).decode_key_loader(self._key)

    def access(self, user: UUID, *, role: str, session: UUID | str, session_version: int) -> str:
        """A new access token, good for LIFETIME seconds."""
        claims = {"role": role, "sid": str(session), "session_version": session_version}
        token: str = create_access_token(str(user), additional_claims=claims, additional_headers=self._headers)
        return token

    def refresh(self, user: UUID, *, jti: str, session: UUID | str, session_version: int) -> str:
        """A new refresh token, good for as long as its session, and once."""
        claims = {"jti": jti, "sid": str(session), "session_version": session_version}
        token: str = create_refresh_token(str(user), additional_claims=claims, additional_headers=self._headers)
        return token

    def csrf_of(self, refresh_token: str) -> str:
        """What has to come with a refresh token of ours where that comes in its cookie."""
        csrf: str = get_csrf_token(refresh_token)
        return csrf

    def read(self, token: str) -> Caller:
        """Whom an access token speaks for. Raises Unauthenticated (`token_expired`, `token_invalid`)."""
        known = self._known.get(token) or self._verified(token)
        if time() >= known.expires:
            raise _expired()
        return known

    def read_refresh(self, token: str, csrf: str | None = None) -> Refresh:
        """What a refresh token says. `csrf`: what has to stand in it, where it came by a cookie.

        Raises Unauthenticated (`token_expired`, `token_invalid`, `csrf_failed`)."""
        if csrf == "":  # the library takes that for no wish to have it looked at
            raise _forged()
        claims = self._claims(token, "refresh", csrf)
        try:
            session, version = str(UUID(claims["sid"])), int(claims["session_version"])
            return Refresh(UUID(claims["sub"]), session, version, str(claims["jti"]))
        except (ValueError, TypeError, AttributeError):
            raise _invalid() from None

    def _verified(self, token: str) -> Caller:
        claims = self._claims(token, "access")
        try:
            role, session = str(claims["role"]), str(claims["sid"])
            version, expires = int(claims["session_version"]), int(claims["exp"])
            caller = Caller(UUID(claims["sub"]), role, session, version, expires)
        except (ValueError, TypeError, AttributeError):
            raise _invalid() from None
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[token] = caller
        return caller

    def _claims(self, token: str, kind: Literal["access", "refresh"], csrf: str | None = None) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = decode_token(token, csrf_value=csrf)
            # As it came, too: the library fills in what is missing.
            said = decode(token, options={"verify_signature": False})
        except ExpiredSignatureError:
            raise _expired() from None
        except CSRFError:
            raise _forged() from None
        except (PyJWTError, JWTExtendedException, ValueError, TypeError, AttributeError):
            raise _invalid() from None
        if not said.keys() >= CLAIMS[kind] or claims["type"] != kind or not claims["jti"]:
            raise _invalid()
        return claims

    def _key(self, header: Mapping[str, Any], _: object) -> str:
        """The key a token names, so that tokens signed before a roll-over are still good; else the present one."""
        return self._keys.get(str(header.get("kid"))) or self._keys[self._headers["kid"]]


def new_jti() -> str:
    """A name for a refresh token that is about to be made."""
    return str(uuid4())


def key_id(key: str) -> str:
    """A name for a key that tells nothing of it."""
    return hashlib.sha256(b"kid:" + key.encode()).hexdigest()[:16]


def _forged() -> Unauthenticated:
    return Unauthenticated("The CSRF token is missing or wrong.", code="csrf_failed")


def _expired() -> Unauthenticated:
    return Unauthenticated("The token has expired.", code="token_expired", headers=INVALID)


def _invalid() -> Unauthenticated:
    return Unauthenticated("The token is not valid.", code="token_invalid", headers=INVALID)
