"""Passwords: hashed with argon2id."""

from __future__ import annotations

from argon2 import PasswordHasher


def hashed(password: str, salt: bytes | None = None) -> str:
    """The hash of a password, with its parameters and its salt in it. `salt`: 16 bytes of one's own, by default random."""
    return PasswordHasher().hash(password, salt=salt)
