"""The body of a write: from bytes to a command, with everything that is wrong with it told at once."""

from __future__ import annotations

import json
from collections import Counter
from itertools import accumulate
from typing import Any, TypeVar

import orjson
from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from jobs.kernel.command import Command
from jobs.kernel.errors import BadRequest, Invalid, TooLarge
from jobs.kernel.field_errors import MOST_ERRORS, FieldErrors, field_errors, name_of

MAX_BYTES = Command.most_bytes
"""The largest body that is taken, but of a kind that allows more (CONTRACT.md §1)."""

MOST_PARTS = 250_000
"""How many commas a body may have, outside of strings, that is larger than that: room is for long texts. So none takes
much longer to read than one that may be sent to any path."""

DEEPEST = 32
"""How many objects and lists a body may have within each other; no kind asks for more than a few."""

M = TypeVar("M", bound=BaseModel)


def read(model: type[BaseModel], *, optional: bool = False) -> bytes:
    """The request's JSON as it came. A model without fields, or one whose fields are all `optional`, needs none: an empty
    body is then `{}`.

    Raises UnsupportedMediaType, and RequestEntityTooLarge above what its kind allows.
    """
    raw = whole(model.most_bytes if issubclass(model, Command) else MAX_BYTES)
    if (optional or not model.model_fields) and not raw.strip():
        return b"{}"
    if request.environ.get("CONTENT_TYPE") == "application/json":
        return raw
    kind = request.mimetype
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType("The body must be application/json.")
    only_utf8()
    return raw


def only_utf8() -> None:
    """Raises UnsupportedMediaType where the request says that its JSON is in another encoding."""
    if request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise UnsupportedMediaType("JSON is sent in UTF-8 (RFC 8259 §8.1).")


def whole(most: int = MAX_BYTES) -> bytes:
    """The body, of at most so many bytes. One whose length is announced, as nearly all are, is read in one go. Raises
    RequestEntityTooLarge."""
    environ = request.environ
    length = environ.get("CONTENT_LENGTH", "")
    if length.isdecimal() and int(length) <= most and environ.get("wsgi.input_terminated"):
        raw: bytes = environ["wsgi.input"].read(int(length))
        return raw
    request.max_content_length = most
    raw = request.get_data(cache=False)
    if len(raw) >= most and _goes_on():
        raise RequestEntityTooLarge
    return raw


def _goes_on() -> bool:
    """Whether there is more of the body: of one whose length is not announced, werkzeug reads what is allowed and
    stops in silence. A server that does not say where a body ends is not asked: it would wait for ever."""
    return bool(request.environ.get("wsgi.input_terminated") and request.environ["wsgi.input"].read(1))


def parse(model: type[M], raw: bytes) -> tuple[M | None, FieldErrors]:
    """The model in a body, or all that is wrong with its fields. Raises what `tree` raises.

    It is parsed twice: pydantic takes the last of repeated names in silence, so the standard library looks first.
    """
    _, plain, errors = tree(raw)
    return validated(model, plain, errors)


def tree(raw: bytes, deepest: int = DEEPEST) -> tuple[Any, bytes, FieldErrors]:
    """JSON as values; the same as JSON, without what pydantic or PostgreSQL would trip over; and all such that was in it. Raises
    BadRequest for what is not JSON, and TooLarge for more than MOST_PARTS.
    """
    errors: FieldErrors = []
    if len(raw) > MAX_BYTES and _has_too_many_parts(raw):
        raise TooLarge
    if _is_too_deep(raw, deepest):
        raise _unreadable(f"nested more than {deepest} levels deep")
    try:
        value, repeats = _decoded(raw)
        if repeats or (b"\\u" in raw and _may_have_traps(value)):
            raw = json.dumps(_without_traps(value, (), errors)).encode()
    except json.JSONDecodeError as broken:
        line = f"line {broken.lineno}, " if broken.lineno > 1 else ""
        raise _unreadable(f"{broken.msg} at {line}column {broken.colno}") from None
    except UnicodeDecodeError:
        raise _unreadable("not UTF-8") from None
    except ValueError as broken:  # a number of thousands of digits, or a constant that JSON does not have
        raise _unreadable(str(broken).partition(";")[0]) from None
    return value, raw, errors


def validated(model: type[M], raw: bytes, errors: FieldErrors) -> tuple[M | None, FieldErrors]:
    """The model in JSON that `tree` has found good, or all that is wrong with its fields, beside `errors`."""
    try:
        return model.model_validate_json(raw), errors
    except ValidationError as refused:
        if refused.errors(include_url=False)[0]["type"] == "json_invalid":
            raise _unreadable("a number is out of all range") from None
        return None, (errors + field_errors(refused))[:MOST_ERRORS]


def load(model: type[M], *, optional: bool = False) -> M:
    """The model in the request's body; where that is `optional`, its defaults for none. Raises BadRequest, Invalid, and
    what `read` raises."""
    value, errors = parse(model, read(model, optional=optional))
    if value is None or errors:
        raise Invalid(errors=errors)
    return value


def _has_too_many_parts(raw: bytes) -> bool:
    """Whether a body has more than MOST_PARTS, as far as it can be read; few have so many commas at all."""
    return raw.count(b",") > MOST_PARTS and _outside_strings(raw, _NO_COMMAS).count(b",") > MOST_PARTS


def _is_too_deep(raw: bytes, deepest: int) -> bool:
    """Whether JSON nests deeper than that, as far as it can be read.

    Few bodies have so many brackets at all. Of the others, all that is no bracket or stands in a string is left out;
    what is left is steps, up and down.
    """
    if raw.count(b"{") + raw.count(b"[") <= deepest:
        return False
    steps = _outside_strings(raw, _NO_BRACKETS).translate(_STEPS)
    return any(map(deepest.__lt__, accumulate(memoryview(steps).cast("b"))))


def _outside_strings(raw: bytes, but: bytes) -> bytes:
    """JSON without its strings, and without the characters in `but`, which has no quote."""
    if b"\\" in raw:
        raw = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(raw.translate(None, but).split(b'"')[::2])


_STEPS = bytes.maketrans(b"{[}]", bytes((1, 1, 255, 255)))  # 255 is -1 where bytes are signed
_NO_BRACKETS, _NO_COMMAS = (bytes(set(range(256)) - set(kept)) for kept in (b'{[}]"', b',"'))


class _Repeats(dict[str, Any]):
    """An object in which names were repeated."""

    names: list[str]


class _RepeatedError(Exception):
    """An object repeats a name."""


def _decoded(raw: bytes) -> tuple[Any, bool]:
    """The JSON value, and whether an object in it repeats a name: such a one is then `_Repeats`.

    orjson, which is faster, drops repeats in silence. But in JSON without escapes each name and text has two quotes; where
    as many are left of what it has read, nothing was dropped. Whatever it cannot read, the standard library has better words for.
    """
    if b"\\" not in raw:
        try:
            value = orjson.loads(raw)
            if orjson.dumps(value).count(b'"') == raw.count(b'"'):
                return value, False
        except ValueError:
            pass
    text = raw.decode()
    try:
        return _DISTINCT.decode(text), False
    except _RepeatedError:
        return _REPEATING.decode(text), True


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) < len(pairs):
        raise _RepeatedError
    return plain


def _repeating(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _Repeats(pairs)
    found.names = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    return found


def _may_have_traps(tree: Any) -> bool:
    """Whether something in it may be what `_without_traps` finds; to look at all of it there takes ten times as long."""
    try:
        return b"\\u0000" in orjson.dumps(tree)
    except TypeError:  # half a surrogate pair; or a number that is too large for it
        return True


def _without_traps(value: Any, path: tuple[object, ...], errors: FieldErrors) -> Any:
    """The same value without what pydantic or PostgreSQL would trip over, each such place entered in `errors`."""
    if isinstance(value, str):
        return _without_bad_characters(value, path, errors)
    if isinstance(value, list):
        return [_without_traps(item, (*path, place), errors) for place, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    for name in getattr(value, "names", ()):
        errors.append({"field": name_of((*path, name)), "message": "Named more than once"})
    return {
        _without_bad_characters(name, (*path, name), errors): _without_traps(item, (*path, name), errors)
        for name, item in value.items()
    }


def _without_bad_characters(text: str, path: tuple[object, ...], errors: FieldErrors) -> str:
    """NUL cannot be stored by PostgreSQL, and half a surrogate pair is no character."""
    if "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        return text
    errors.append({"field": name_of(path), "message": "Has a character that cannot be stored (NUL, or half a pair)"})
    return "".join("?" if letter == "\0" or "\ud800" <= letter <= "\udfff" else letter for letter in text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.loads` with hooks would make one for each body, which takes longer than most bodies.
_DISTINCT = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant)
_REPEATING = json.JSONDecoder(object_pairs_hook=_repeating, parse_constant=_no_constant)


def _unreadable(why: str) -> BadRequest:
    return BadRequest(f"This is not JSON that can be read: {why}.", code="malformed_json")
