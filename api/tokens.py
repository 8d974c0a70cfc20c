"""Access tokens: made and read by flask-jwt-extended, with everything that could be left open pinned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import Any
from uuid import UUID

from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import ExpiredSignatureError, PyJWTError, decode

from config import Settings
from jobs.kernel.errors import Unauthenticated

LIFETIME = 900
"""Seconds an access token is good for (CONTRACT.md §3)."""

ALGORITHM = "HS256"
PARTY = "millrace"
CLAIMS = frozenset({"exp", "iat", "nbf", "jti", "iss", "aud", "sub", "type", "role", "session_version"})
KNOWN = 10_000
INVALID = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever a request comes from. `session_version` is the one the token was given for."""

    id: UUID
    role: str
    session_version: int

    def sees(self, owner: UUID | None) -> bool:
        """Whether what `owner` owns exists for this caller (CONTRACT.md §1: an admin sees all)."""
        return self.role == "admin" or owner == self.id


class Tokens:
    """Issues and reads access tokens.

    A signature that was found good once stays good, so what it vouches for is remembered; the time of expiry is
    looked at on every use.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        keys = [key for key in (settings.jwt_secret_key, settings.jwt_secret_key_previous) if key]
        self._keys = {key_id(key): key for key in keys}
        self._headers = {"kid": key_id(keys[0])}
        self._known: dict[str, tuple[Caller, int]] = {}
        app.config.update(
            JWT_SECRET_KEY=keys[0],
            JWT_ALGORITHM=ALGORITHM,
            JWT_DECODE_ALGORITHMS=[ALGORITHM],
            JWT_TOKEN_LOCATION=["headers"],
            JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=LIFETIME),
            JWT_ENCODE_ISSUER=PARTY,
            JWT_DECODE_ISSUER=PARTY,
            JWT_ENCODE_AUDIENCE=PARTY,
            JWT_DECODE_AUDIENCE=PARTY,
        )
        JWTManager(app).decode_key_loader(self._key)

    def issue(self, user: UUID, *, role: str, session_version: int) -> str:
        """A new access token, good for LIFETIME seconds."""
        claims = {"role": role, "session_version": session_version}
        token: str = create_access_token(str(user), additional_claims=claims, additional_headers=self._headers)
        return token

    def read(self, token: str) -> Caller:
        """Whom a token speaks for. Raises Unauthenticated (`token_expired`, `token_invalid`)."""
        known = self._known.get(token) or self._verified(token)
        if time() >= known[1]:
            raise _expired()
        return known[0]

    def _verified(self, token: str) -> tuple[Caller, int]:
        try:
            claims: dict[str, Any] = decode_token(token)
            said = decode(
                token, options={"verify_signature": False}
            )  # as it came: the library fills in what is missing
            if not said.keys() >= CLAIMS or claims["type"] != "access" or not claims["jti"]:
                raise _invalid()
            caller = Caller(UUID(claims["sub"]), str(claims["role"]), int(claims["session_version"]))
        except ExpiredSignatureError:
            raise _expired() from None
        except (PyJWTError, JWTExtendedException, ValueError, TypeError, AttributeError):
            raise _invalid() from None
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[token] = caller, int(claims["exp"])
        return self._known[token]

    def _key(self, header: Mapping[str, Any], _: object) -> str:
        """The key a token names, so that tokens signed before a roll-over are still good; else the present one."""
        return self._keys.get(str(header.get("kid"))) or self._keys[self._headers["kid"]]


def key_id(key: str) -> str:
    """A name for a key that tells nothing of it."""
    return hashlib.sha256(b"kid:" + key.encode()).hexdigest()[:16]


def _expired() -> Unauthenticated:
    return Unauthenticated("The access token has expired.", code="token_expired", headers=INVALID)


def _invalid() -> Unauthenticated:
    return Unauthenticated("The access token is not valid.", code="token_invalid", headers=INVALID)
