"""What runs: Python, our libraries against those that are locked, and the servers."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

from api.doctor_checks import Finding, failure, fine, warning

LOCK = Path(__file__).resolve().parents[2] / "requirements.txt"
POSTGRESQL, REDIS = 18, (6, 2)
SOME = 5
"""Differences that are named."""


def versions(lock: Path = LOCK) -> Iterator[Finding]:
    """Of what this process is made of. `lock`: requirements with their versions pinned."""
    yield fine("versions.python", platform.python_version())  # an older one would not have come so far
    yield _libraries(lock)


def _libraries(lock: Path) -> Finding:
    name, mend = "versions.libraries", f"Install what is locked: pip install --require-hashes -r {lock.name}."
    if not lock.exists():
        return warning(name, f"there is no {lock.name} here to compare with", f"Run it where {lock.name} is.")
    locked = {wanted.name: next(iter(wanted.specifier)).version for wanted in _wanted(lock)}
    found = {library: _installed(library) for library in locked}
    apart = [f"{one} is {found[one] or 'missing'}, not {locked[one]}" for one in locked if found[one] != locked[one]]
    if not apart:
        return fine(name, f"all {len(locked)} are those locked")
    more = f", and {len(apart) - SOME} more" if len(apart) > SOME else ""
    return warning(name, ", ".join(apart[:SOME]) + more, mend)


def _wanted(lock: Path) -> Iterator[Requirement]:
    """What is locked for this platform; beneath each stand its hashes."""
    for line in lock.read_text().splitlines():
        if line and not line.startswith(("#", " ")):
            wanted = Requirement(line.rstrip(" \\"))
            if wanted.marker is None or wanted.marker.evaluate():
                yield wanted


def _installed(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def postgresql(number: int) -> Finding:
    """`number`: `server_version_num`, the major version times 10,000 and the minor one."""
    told, name = f"{number // 10_000}.{number % 10_000}", "versions.postgresql"
    if number // 10_000 < POSTGRESQL:
        return failure(
            name, f"{told}: migrations need its successors", f"Upgrade the server to PostgreSQL {POSTGRESQL}."
        )
    return fine(name, told)


def redis(told: str) -> Finding:
    """`told`: like `7.2.4`."""
    if tuple(int(part) for part in re.findall(r"\d+", told)[:2]) < REDIS:
        return failure(
            "versions.redis", f"{told}: scripts need its successors", "Upgrade the server to Redis 6.2 or later."
        )
    return fine("versions.redis", told)
