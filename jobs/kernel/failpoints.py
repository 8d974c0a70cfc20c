"""Fail points: labelled places on the road of a write where a test may have this process die, stall or lose a reply.

Nothing is armed in production: passing a point is then one function call that returns at once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from enum import StrEnum

from redis.exceptions import ConnectionError as RedisConnectionError

KILL, LOSE, STALL = "kill", "lose", "stall"
STALL_SECONDS = 10.0
"""Longer than a lease, shorter than a batch's time-out."""


class Point(StrEnum):
    """Every labelled place, in the order in which a write passes them."""

    SUBMIT_BEGINS = "submit.begins"
    SUBMIT_ANSWERED = "submit.answered"
    RESERVE_BEGINS = "reserve.begins"
    RESERVE_ANSWERED = "reserve.answered"
    BATCH_BEGINS = "batch.begins"
    CALL_BEGINS = "call.begins"
    CALL_ANSWERED = "call.answered"
    SID_WRITTEN = "sid.written"
    EFFECT_WRITTEN = "effect.written"
    RECEIPT_WRITTEN = "receipt.written"
    COMMIT_ANSWERED = "commit.answered"
    SETTLE_BEGINS = "settle.begins"
    SETTLE_ANSWERED = "settle.answered"


_armed: dict[str, tuple[str, str]] = {}


def arm(plan: str) -> None:
    """Arm points, by `label=fault@latch` with commas between them.

    `fault`: kill (SIGKILL to this process), lose (the reply is lost: an error of the connection is raised) or stall
    (this thread sleeps for STALL_SECONDS). `latch`: a path; the fault strikes once, whichever process gets there
    first and creates the file. Raises ValueError for a plan that cannot be read.
    """
    for part in filter(None, plan.split(",")):
        label, _, rest = part.partition("=")
        fault, _, latch = rest.partition("@")
        if fault not in (KILL, LOSE, STALL) or not latch:
            raise ValueError(f"{part!r} is not label=fault@latch")
        _armed[Point(label)] = (fault, latch)


def reach(point: Point, lost: Callable[[str], Exception] = RedisConnectionError) -> None:
    """Pass a labelled place. `lost`: makes what a reply that is lost here looks like."""
    if _armed and point in _armed:
        _strike(*_armed[point], lost)


def _strike(fault: str, latch: str, lost: Callable[[str], Exception]) -> None:
    try:
        os.close(os.open(latch, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    if fault == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == LOSE:
        raise lost("a fail point lost the reply")
    time.sleep(STALL_SECONDS)
