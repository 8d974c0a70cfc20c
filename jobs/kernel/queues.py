"""Queues: how each stands, and whether workers may take from it. The API, the command line and /metrics all ask here.

That a queue is paused is known to Redis alone, which keeps it through restarts as it keeps jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from redis import Redis

from jobs.kernel.errors import NotFound
from jobs.kernel.fleet import Fleet
from jobs.kernel.outcome import State
from jobs.kernel.policy import QUEUES, Priority
from jobs.kernel.record import parsed
from jobs.kernel.scripts import script
from jobs.kernel.times import from_micros, micros

FINAL = [str(state) for state in State if state.final]
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class QueueView:
    """How one queue stands. `depth`: jobs in all its lanes; `depth_by_priority`: in each. `oldest_age_seconds`: how long the
    first of a lane has waited, in the lane where that is longest; None where nothing waits. `running`: leases. `done_per_minute`:
    jobs that became final, in whatever way, in the last full minute, which is counted by tens of seconds;
    `failed_per_minute`: those of them that have failed. `totals`: final jobs by state, since Redis lost its data last.
    `workers`: those alive."""

    name: str
    way: Literal["batch", "threads"]
    paused: bool
    depth: int
    depth_by_priority: Mapping[str, int]
    oldest_age_seconds: float | None
    running: int
    done_per_minute: int
    failed_per_minute: int
    totals: Mapping[str, int]
    workers: int

    def shown(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Overview:
    """Every queue, in the order of QUEUES; and the jobs that wait for a time, whatever queue that will bring them to: to tell
    apart how many go to each would take a look at every one of them."""

    queues: tuple[QueueView, ...]
    scheduled: int


class Queues:
    """The queues there are, for any number of threads. What asks Redis raises one of `broker.LOST`, or ResponseError."""

    def __init__(self, redis: Redis) -> None:
        self._fleet = Fleet(redis)
        self._read, self._pause, self._resume = (
            script(redis, HERE / f"{name}.lua") for name in ("queues", "pause", "resume")
        )

    def view(self) -> Overview:
        """How all of them stand; two round trips, however many jobs there are."""
        return self._view(list(QUEUES))

    def one(self, name: str) -> QueueView:
        """How one stands. Raises NotFound."""
        (found,) = self._view([_known(name)]).queues
        return found

    def pause(self, name: str) -> bool:
        """Have workers take no more from it; what they hold they finish. Whether it went on before. Raises NotFound."""
        return bool(self._pause(args=[_known(name)]))

    def resume(self, name: str) -> bool:
        """Have workers take from it again, at once. Whether it was paused before. Raises NotFound."""
        return bool(self._resume(args=[_known(name)]))

    def _view(self, names: Sequence[str]) -> Overview:
        now, scheduled, *rows = self._read(args=[len(FINAL), *FINAL, *names])
        workers = self._fleet.alive()
        views = (_queue(name, int(now), row, workers[name]) for name, row in zip(names, rows, strict=True))
        return Overview(tuple(views), scheduled)


def _known(name: str) -> str:
    if name not in QUEUES:
        raise NotFound
    return name


def _queue(name: str, now: int, row: Sequence[Any], workers: int) -> QueueView:
    paused, running, lanes, minute, ever = row
    finished, ages = dict(zip(FINAL, minute, strict=True)), [_age(now, *head) for _, *head in lanes]
    return QueueView(
        name=name,
        way=QUEUES[name],
        paused=bool(paused),
        depth=sum(depth for depth, *_ in lanes),
        depth_by_priority={str(priority): depth for priority, (depth, *_) in zip(Priority, lanes, strict=True)},
        oldest_age_seconds=max((age for age in ages if age is not None), default=None),
        running=running,
        done_per_minute=sum(finished.values()),
        failed_per_minute=finished[State.FAILED],
        totals=dict(zip(FINAL, ever, strict=True)),
        workers=workers,
    )


def _age(now: int, created: bytes, due: bytes) -> float | None:
    """Seconds since a job was queued: when it was submitted, or was due, if it was to wait. None where that cannot be read."""
    try:
        queued = micros(parsed(created)) if created else 0
        queued = max(queued, micros(from_micros(int(due))) if due else 0)
    except (ValueError, OverflowError, OSError):
        return None
    return round(max(now - queued, 0) / 1_000_000, 3) if queued else None
