"""What is wrong with the fields of something, as clients are told: of a request, or of one item of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

MOST_ERRORS = 100
"""How many field errors one answer tells; a hostile body could have one in every few bytes."""

FieldErrors = list[dict[str, str]]


def field_errors(refused: ValidationError) -> FieldErrors:
    """What pydantic has to say, as `{field, message}`; never with the value itself, which may be a secret."""
    found = []
    for error in refused.errors(include_url=False, include_input=False, include_context=False)[:MOST_ERRORS]:
        message = error["msg"].removeprefix("Value error, ")
        found.append({"field": name_of(error["loc"]), "message": message[:1].upper() + message[1:]})
    return found


def name_of(path: Sequence[object]) -> str:
    """`services.0` for a place in the body; of names that are absurdly long, the beginning."""
    return ".".join(map(str, path)).encode("utf-8", "backslashreplace").decode()[:200]
