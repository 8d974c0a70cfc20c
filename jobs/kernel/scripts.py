"""Lua scripts: files beside the code that runs them, put together once and run by digest."""

from __future__ import annotations

import re
from pathlib import Path

from redis import Redis
from redis.commands.core import Script

INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)
SHARED = Path(__file__).parent


def source(path: Path) -> str:
    """The text of a script, each `-- include name` replaced by that file, from beside it or from the kernel; once, however
    many include it."""
    known: set[str] = set()

    def included(match: re.Match[str]) -> str:
        if match[1] in known:
            return ""
        known.add(match[1])
        beside = path.with_name(f"{match[1]}.lua")
        return text(beside if beside.exists() else SHARED / beside.name)

    def text(of: Path) -> str:
        return INCLUDE.sub(included, of.read_text())

    return text(path)


def script(redis: Redis, path: Path) -> Script:
    """A script, ready to be called with `keys` and `args`; loaded again by itself after a restart of Redis."""
    return redis.register_script(source(path))
