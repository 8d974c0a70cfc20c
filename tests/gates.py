"""Gates to one service, each with a connection of its own; and time that passes without being waited for."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from jobs.kernel import broker, keys, ports
from jobs.kernel.circuits import Circuits
from jobs.kernel.errors import Snooze
from jobs.kernel.ports import Unreached
from jobs.kernel.times import from_micros, read
from tests.road import Road
from workers.gate import JITTER, LONGEST, Gate, Leave

NAME = ports.CARRIER
WINDOW, PAUSE = 30, 10
"""Seconds for which a failure counts, and for which the first opening takes."""

TIMES = ("opened_at", "next_probe_at", "returning_since", "free")


class Gates:
    """Made of a road; `redis`: the administrator's, while gates have the rights of workers. `name`: the circuit's."""

    def __init__(self, road: Road, name: str = NAME) -> None:
        self.name = name
        given = {"circuit_failures": 3, "circuit_window_seconds": WINDOW, "circuit_open_seconds": PAUSE}
        self.settings = road.of_worker.model_copy(update=given)
        self.redis = road.redis
        self.circuits = Circuits(road.redis, self.settings)
        self._began, self._elapsed = self.now, timedelta(0)
        self._clients = [broker.connect(self.settings.redis_url, timeout=5)]

    def make(self, *, name: str = "", rate: float | None = None, longest: int = LONGEST) -> Gate:
        self._clients.append(broker.connect(self.settings.redis_url, timeout=5))
        return Gate(self._clients[-1], self.settings, name or self.name, rate=rate, longest=longest)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    @property
    def view(self) -> dict[str, Any]:
        return self.circuits.view()[self.name]

    @property
    def state(self) -> str:
        return str(self.view["state"])

    @property
    def now(self) -> datetime:
        """By Redis's clock."""
        seconds, micros = self.redis.time()
        return from_micros(seconds * 1_000_000 + micros)

    @property
    def since(self) -> timedelta:
        """Time since these were made, with what has elapsed."""
        return self.passed(self.now)

    def passed(self, moment: datetime) -> timedelta:
        """What will have passed since these were made, when Redis's clock tells a moment."""
        return moment - self._began + self._elapsed

    @property
    def last_passed(self) -> timedelta:
        """When the last one passed whom a rate of one a second has kept."""
        return self.passed(from_micros(int(self.redis.hget(keys.circuit(self.name), "free") or 0))) - timedelta(
            seconds=1
        )

    @property
    def opens_for(self) -> float:
        """Seconds until the next probe."""
        return (read(self.view["next_probe_at"]) - self.now).total_seconds()

    def elapse(self, seconds: float) -> None:
        """Let time pass: all that Redis remembers was so much earlier."""
        key, micros = keys.circuit(self.name), round(seconds * 1_000_000)
        sets = [f"{key}:{kept}" for kept in ("failures", "permits", "turns")]
        asked = self.redis.pipeline(transaction=False)
        asked.hmget(key, TIMES)
        for name in sets:
            asked.zrange(name, 0, -1)
        times, *members = asked.execute()
        moved = self.redis.pipeline()
        for name, at in zip(TIMES, times, strict=True):
            if at is not None:
                moved.hset(key, name, int(at) - micros)
        for name, member in ((name, member) for name, kept in zip(sets, members, strict=True) for member in kept):
            moved.zincrby(name, -micros, member)
        moved.execute()
        self._elapsed += timedelta(seconds=seconds)

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
