"""What the users of Redis were refused: nothing, in a system that works."""

from __future__ import annotations

from typing import Any

from redis import Redis

from jobs.kernel import acl


def forbidden(redis: Redis) -> list[dict[str, Any]]:
    """Refusals since Redis was started, or its log of them emptied; `redis`: the administrator's.

    The client of a stock tool introduces itself by CLIENT SETINFO, which versions before 7.2 do not know, and so cannot
    be told to allow. It goes on without.
    """
    ours = [entry for entry in redis.acl_log() if entry["username"] in acl.USERS]
    return [entry for entry in ours if entry["object"] not in ("client", "client|setinfo")]
