"""The fleet: the workers that are registered, and which of them live; by RQ's own registration, so stock ones as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis import Redis

from jobs.kernel import keys
from jobs.kernel.policy import QUEUES
from jobs.kernel.scripts import script

ALIVE_WITHIN = timedelta(seconds=30)
"""Of its last heartbeat; a worker beats every five seconds."""

MOST_LEASES = 10_000
"""Of one queue, that are looked at for who holds them."""

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker process. `state`: RQ's word, `idle` or `busy`. `leases`: the jobs it holds. `succeeded`, `failed`: jobs since
    it began, where what was rejected or canceled counts as done well. Times are None where they cannot be read."""

    name: str
    queues: tuple[str, ...]
    state: str
    alive: bool
    started_at: datetime | None
    heard_at: datetime | None
    leases: int
    succeeded: int
    failed: int
    host: str
    pid: int | None


class Fleet:
    """Every worker of our queues, to be read by any number of threads."""

    def __init__(self, redis: Redis) -> None:
        self._read, self._holdings = (script(redis, HERE / f"{name}.lua") for name in ("fleet", "holdings"))

    def alive(self) -> Counter[str]:
        """How many live workers each queue has; one round trip. Raises one of `broker.LOST`."""
        return Counter(queue for worker in self._workers({}) if worker.alive for queue in worker.queues)

    def view(self) -> list[WorkerView]:
        """All that are registered, by name; two round trips. Raises one of `broker.LOST`."""
        held = self._holdings(args=[MOST_LEASES, *map(keys.leases, QUEUES)])
        leases = {name.decode(): int(count) for name, count in zip(held[::2], held[1::2], strict=True)}
        return sorted(self._workers(leases), key=lambda worker: worker.name)

    def _workers(self, leases: Mapping[str, int]) -> Iterator[WorkerView]:
        members, workers = self._read(args=[*QUEUES])
        registered = dict(zip(QUEUES, map(frozenset, members), strict=True))
        oldest = datetime.now(UTC) - ALIVE_WITHIN
        for key, (beat, death, birth, state, host, pid, succeeded, failed) in workers:
            name, heard_at = key.decode().removeprefix(keys.worker("")), _moment(beat)
            yield WorkerView(
                name=name,
                queues=tuple(queue for queue, found in registered.items() if key in found),
                state=_text(state),
                alive=not death and heard_at is not None and heard_at > oldest,
                started_at=_moment(birth),
                heard_at=heard_at,
                leases=leases.get(name, 0),
                succeeded=_count(succeeded) or 0,
                failed=_count(failed) or 0,
                host=_text(host),
                pid=_count(pid),
            )


def _moment(written: bytes | None) -> datetime | None:
    """A time as RQ writes it."""
    try:
        return datetime.fromisoformat(_text(written)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(said: bytes | None) -> str:
    return said.decode(errors="replace") if said else ""


def _count(said: bytes | None) -> int | None:
    return int(said) if said and said.isdigit() else None
