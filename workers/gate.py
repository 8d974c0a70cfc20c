"""The way to a service outside: a circuit and a rate, kept in Redis, shared by all workers (CONTRACT.md §5).

The circuit (Nygard, "Release It!") opens at some failures within a window. Nobody passes then, until a probe may; after one
that succeeded 2, 4 and 8 may pass at a time, each as soon as so many have succeeded as might before, and then it is closed;
it also is when it has come back for as long as a failure counts. A failure meanwhile opens it again, for twice as long up to
a bound.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
from redis import Redis

from config import Settings
from jobs.kernel import broker, keys
from jobs.kernel.errors import Snooze
from jobs.kernel.ports import Refused, Trouble
from jobs.kernel.scripts import script
from jobs.kernel.times import from_micros

HERE = Path(__file__).parent
SECOND = 1_000_000
PERMIT_SECONDS = 60.0
"""A permit that nobody gives back runs out: longer than a service is ever waited for, twice."""

UNPACED = 100
"""Turns a second of a service without a rate, at which those come back who waited for its circuit."""

JITTER = 0.1
"""By how much of itself the time differs for which a circuit is open."""

LONGEST = 8
"""How many times as long as the first an opening takes at most, that follows before the circuit has closed."""

SPREAD = 1.0
"""Seconds over which those come back who wait without a turn."""

Verdict = Literal["failure", "success", "neither"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Leave:
    """A permit (`jobs.kernel.ports.Permit`). `epoch`: of the circuit. `counted`: it is one of so many that may be out at a
    time. `wait`: seconds until it holds."""

    token: str
    epoch: bytes
    probe: bool
    counted: bool
    wait: float


class Gate:
    """The way to one service, for any number of threads. `name`: the circuit's, in `jobs.kernel.ports`. `rate`: the most that
    is asked of the service in a second; None: as much as it takes. `pause`: seconds that the first opening takes, by default
    CIRCUIT_OPEN_SECONDS. `longest`: see LONGEST; 1 where a probe costs nobody much.
    `permit`: see PERMIT_SECONDS."""

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        name: str,
        *,
        rate: float | None,
        pause: float | None = None,
        longest: int = LONGEST,
        permit: float = PERMIT_SECONDS,
    ) -> None:
        self._enter, self._report = (script(redis, HERE / f"gate_{verb}.lua") for verb in ("enter", "report"))
        self._name, self._key = name, keys.circuit(name)
        self._pace: list[str | int] = [round(SECOND / (rate or UNPACED)), "1" if rate else ""]
        self._failures, self._window = settings.circuit_failures, settings.circuit_window_seconds * SECOND
        self._permit = round(permit * SECOND)
        self._pause, self._longest = round((pause or settings.circuit_open_seconds) * SECOND), longest

    @contextmanager
    def enter(self, *, turn: str | None = None) -> Iterator[Leave]:
        """Leave to ask the service, for the length of a block; see `jobs.kernel.ports.Outside.enter`.

        Whoever comes when their turn has come waits for a second at most, so that the rate is kept. Raises Snooze until the
        turn that is kept for them, or until the circuit lets the next one pass; and one of `broker.LOST`.
        """
        leave = self._ask(turn)
        try:
            time.sleep(leave.wait)
            yield leave
        except BaseException as raised:
            self._tell(leave, _verdict(raised))
            raise
        self._tell(leave, "success")

    def _ask(self, turn: str | None) -> Leave:
        token = secrets.token_hex(8)
        args: list[str | int] = [self._key, token, turn or "", *self._pace, self._window, self._permit]
        answer, *more = self._enter(args=args)
        if answer == b"wait":
            spread = 0 if turn else random.uniform(0, SPREAD)  # noqa: S311 - jitter, not a secret
            raise Snooze(from_micros(int(more[0]) + round(spread * SECOND)))
        epoch, state, limit, wait = more
        counted = state == b"half_open"
        return Leave(token, epoch, probe=counted and limit == 1, counted=counted, wait=wait / SECOND)

    def _tell(self, leave: Leave, verdict: Verdict) -> None:
        """Report what came of it, where that changes anything. If Redis does not hear it, the permit runs out, and a failure
        is not counted."""
        if not leave.counted and verdict != "failure":
            return
        pause = round(self._pause * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - jitter, not a secret
        args: list[str | bytes | int] = [
            self._key,
            leave.token,
            leave.epoch,
            verdict,
            self._failures,
            self._window,
            pause,
            self._longest,
        ]
        try:
            become = self._report(args=args).decode()
        except (*broker.LOST, broker.ResponseError) as lost:
            log.warning("circuit_not_told", circuit=self._name, verdict=verdict, error=type(lost).__name__)
            return
        if become == "opened":
            log.warning("circuit_opened", circuit=self._name)
        elif become:
            log.info("circuit_closed", circuit=self._name)


def _verdict(raised: BaseException) -> Verdict:
    if isinstance(raised, Trouble):
        return "failure"
    return "success" if isinstance(raised, Refused) else "neither"
