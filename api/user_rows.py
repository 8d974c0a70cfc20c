"""A file of users: CSV with a header, read row by row, so that it may be of any size. One bad row spoils no other."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from pydantic import ValidationError

from jobs.kernel.field_errors import field_errors
from jobs.users import ImportUser

NEEDED, OPTIONAL = ("email", "password", "role"), ("name",)


class Row(NamedTuple):
    """A user to be imported; `line` counts from 1, the header's."""

    line: int
    command: ImportUser


class Wrong(NamedTuple):
    """A row that is none; `reason` never quotes what stands in it."""

    line: int
    reason: str


class BadHeaderError(Exception):
    """The first line does not name the columns."""

    def __init__(self) -> None:
        super().__init__(f"The first line has to be {','.join(NEEDED)} or {','.join(NEEDED + OPTIONAL)}.")


def rows(path: Path) -> Iterator[Row | Wrong]:
    """The rows of a file in UTF-8, with or without a byte order mark; what is not UTF-8 is told of its row.

    Raises BadHeaderError, and OSError where it cannot be read."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield from _rows(file)


def _rows(file: IO[str]) -> Iterator[Row | Wrong]:
    reader = csv.reader(file, strict=True)
    names = _header(reader)
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as broken:
            yield Wrong(line, f"cannot be read as CSV: {broken}")
            continue
        if values:
            yield _row(line, names, values)


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        names = [name.strip().lower() for name in next(reader)]
    except (StopIteration, csv.Error):
        raise BadHeaderError from None
    if len(set(names)) < len(names) or not {*NEEDED} <= {*names} <= {*NEEDED, *OPTIONAL}:
        raise BadHeaderError
    return names


def _row(line: int, names: Sequence[str], values: Sequence[str]) -> Row | Wrong:
    if len(values) != len(names):
        return Wrong(line, f"should have {len(names)} columns, and has {len(values)}")
    if any("\ud800" <= letter <= "\udfff" for value in values for letter in value):
        return Wrong(line, "is not UTF-8")
    given = dict(zip(names, values, strict=True))
    given["role"] = given["role"].strip()
    if not given.get("name", "").strip():
        given.pop("name", None)
    try:
        return Row(line, ImportUser.model_validate(given))
    except ValidationError as refused:
        return Wrong(line, reasons(refused))


def reasons(refused: ValidationError) -> str:
    """All that is wrong, in one line; never with the value itself."""
    return "; ".join(f"{error['field']}: {error['message']}" for error in field_errors(refused))
