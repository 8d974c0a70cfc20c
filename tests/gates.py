"""Gates to one service, each with a connection of its own; and time that passes without being waited for."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from jobs.kernel import broker, keys, ports
from jobs.kernel.circuits import Circuits
from jobs.kernel.errors import Snooze
from jobs.kernel.ports import Unreached
from jobs.kernel.times import from_micros, read
from tests.road import Road
from workers.gate import JITTER, Gate, Leave

NAME = ports.CARRIER
WINDOW, PAUSE = 30, 10
"""Seconds for which a failure counts, and for which the first opening takes."""

TIMES = ("opened_at", "next_probe_at", "returning_since", "free")


class Gates:
    """Made of a road; `redis`: the administrator's, while gates have the rights of workers."""

    def __init__(self, road: Road) -> None:
        given = {"circuit_failures": 3, "circuit_window_seconds": WINDOW, "circuit_open_seconds": PAUSE}
        self.settings = road.of_worker.model_copy(update=given)
        self.redis = road.redis
        self.circuits = Circuits(road.redis, self.settings)
        self._clients = [broker.connect(self.settings.redis_url, timeout=5)]

    def make(self, *, name: str = NAME, rate: float | None = None) -> Gate:
        self._clients.append(broker.connect(self.settings.redis_url, timeout=5))
        return Gate(self._clients[-1], self.settings, name, rate=rate)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    @property
    def view(self) -> dict[str, Any]:
        return self.circuits.view()[NAME]

    @property
    def state(self) -> str:
        return str(self.view["state"])

    @property
    def now(self) -> datetime:
        """By Redis's clock."""
        seconds, micros = self.redis.time()
        return from_micros(seconds * 1_000_000 + micros)

    @property
    def opens_for(self) -> float:
        """Seconds until the next probe."""
        return (read(self.view["next_probe_at"]) - self.now).total_seconds()

    def elapse(self, seconds: float) -> None:
        """Let time pass: all that Redis remembers was so much earlier."""
        key, micros = keys.circuit(NAME), round(seconds * 1_000_000)
        for name, at in zip(TIMES, self.redis.hmget(key, TIMES), strict=True):
            if at is not None:
                self.redis.hset(key, name, int(at) - micros)
        for kept in ("failures", "permits", "turns"):
            for member in self.redis.zrange(f"{key}:{kept}", 0, -1):
                self.redis.zincrby(f"{key}:{kept}", -micros, member)

    def passes(self, gate: Gate, turn: str | None = None) -> bool:
        """Whether it lets one pass, who then gives the permit back."""
        with suppress(Snooze), gate.enter(turn=turn) as permit:
            gate._tell(permit, "neither")
            return True
        return False

    def all_that_pass(self, gate: Gate, most: int) -> list[Leave]:
        """Permits, until there are no more; nothing is told of them."""
        out: list[Leave] = []
        with suppress(Snooze):
            while len(out) < most:
                out.append(gate._ask(None))
        return out

    def end(self, gate: Gate, raised: BaseException | None = None) -> None:
        """Pass, and end so. Raises Snooze, where it does not pass."""
        with suppress(*([type(raised)] if raised else [])), gate.enter():
            if raised:
                raise raised

    def open(self, gate: Gate) -> None:
        """Open the circuit, which is closed."""
        for _ in range(3):
            self.end(gate, Unreached())
        assert self.state == "open"

    def half_open(self) -> Gate:
        """A gate that lets a probe pass now."""
        gate = self.make()
        self.open(gate)
        self.elapse(PAUSE * (1 + JITTER))
        assert self.state == "half_open"
        return gate
