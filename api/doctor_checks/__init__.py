"""What `flask doctor` looks at, a duty a file; each finds how something is, and where that is not well, what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """`warn`: it works, and will hurt one day, or somebody. `fail`: it does not, or breaks a promise."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """`name`: stable, for programs. `detail`: what was found. `mend`: a sentence with the command, empty where all is well."""

    name: str
    verdict: Verdict
    detail: str
    mend: str = ""


def fine(name: str, detail: str) -> Finding:
    return Finding(name, Verdict.OK, detail)


def warning(name: str, detail: str, mend: str) -> Finding:
    return Finding(name, Verdict.WARN, detail, mend)


def failure(name: str, detail: str, mend: str) -> Finding:
    return Finding(name, Verdict.FAIL, detail, mend)
