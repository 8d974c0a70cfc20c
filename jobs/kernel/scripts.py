"""Lua scripts: files beside the code that runs them, put together once and run by digest."""

from __future__ import annotations

import re
from pathlib import Path

from redis import Redis
from redis.commands.core import Script

INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)
SHARED = Path(__file__).parent


def source(path: Path) -> str:
    """The text of a script, each `-- include name` replaced by that file of the kernel's."""
    return INCLUDE.sub(lambda match: (SHARED / f"{match[1]}.lua").read_text(), path.read_text())


def script(redis: Redis, path: Path) -> Script:
    """A script, ready to be called with `keys` and `args`; loaded again by itself after a restart of Redis."""
    return redis.register_script(source(path))
