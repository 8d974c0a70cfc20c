"""Passwords in commands: plain as a client sends them, and from then on a hash. A plain one cannot be written anywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, PlainSerializer, ValidationInfo, WrapValidator

from jobs.kernel.private import PRIVATE
from jobs.rules import missing_in_password

SEALED = MappingProxyType({"sealed": True})
"""The context in which a command is read that comes from the queue: what stands there is a hash already."""

SHORTEST, LONGEST = 8, 128
PREFIX = "$argon2id$"

M = TypeVar("M", bound=BaseModel)


class Hashed(str):
    """A password's argon2id hash: all that a queue or a table may hold of it."""

    __slots__ = ()


def _strong(password: str) -> str:
    if missing := missing_in_password(password):
        raise ValueError(f"should have {', '.join(missing)}")
    return password


def _read(value: object, plain: Callable[[object], str], info: ValidationInfo) -> str:
    if info.context is not SEALED:
        return plain(value)
    if not isinstance(value, str) or not value.startswith(PREFIX):
        raise ValueError("should be a hash")
    return Hashed(value)


def _written(value: str) -> str:
    if not isinstance(value, Hashed):
        raise TypeError("a plain password must not be written down")
    return str(value)


MARK = object()
"""By it the fields that hold a password are told."""

Password = Annotated[
    str,
    Field(
        min_length=SHORTEST,
        max_length=LONGEST,
        repr=False,
        description="with a lower and an upper case letter, a digit, and one of `@$!%*?&#^_-`",
        examples=["Correct-horse1"],
        json_schema_extra={"format": "password", "writeOnly": True},
    ),
    AfterValidator(_strong),
    WrapValidator(_read),
    PlainSerializer(_written),
    MARK,
    PRIVATE,
]
"""A password as clients choose one (CONTRACT.md §3), for the fields of commands."""


def given_passwords(command: BaseModel) -> list[str]:
    """The fields of the command in which a password was given."""
    return [name for name in _fields(type(command)) if name in command.model_fields_set]


def sealed(command: M, hashing: Callable[[str], str]) -> M:
    """The command with the hash of each password in its place."""
    given = given_passwords(command)
    return command.model_copy(update={name: Hashed(hashing(getattr(command, name))) for name in given})


@cache
def _fields(model: type[BaseModel]) -> tuple[str, ...]:
    def marked(metadata: list[Any]) -> bool:
        return any(one is MARK for one in metadata)

    return tuple(name for name, field in model.model_fields.items() if marked(field.metadata))
