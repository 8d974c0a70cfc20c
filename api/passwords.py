"""Passwords: hashed with argon2id, compared in the same time whether there is one or not."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError


def hashed(password: str, salt: bytes | None = None) -> str:
    """The hash of a password, with its parameters and its salt in it. `salt`: 16 bytes of one's own, by default random."""
    return PasswordHasher().hash(password, salt=salt)


def matches(password_hash: str | None, password: str) -> bool:
    """Whether this is the password. No hash at all takes as long as one that does not match."""
    try:
        PasswordHasher().verify(password_hash or nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def outdated(password_hash: str) -> bool:
    """Whether it was made with weaker parameters than are used today."""
    return PasswordHasher().check_needs_rehash(password_hash)


@cache
def nobodys_hash() -> str:
    """What is verified against where there is no user."""
    return PasswordHasher().hash("nobody's password")
