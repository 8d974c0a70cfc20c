"""Circuits, read: how the services stand that jobs ask (CONTRACT.md §5). `workers.gate` moves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis

from config import Settings
from jobs.kernel import keys, ports
from jobs.kernel.scripts import script
from jobs.kernel.times import from_micros
from models.views import instant


class Circuits:
    """Every circuit there is, to be read by any number of threads."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._read = script(redis, Path(__file__).with_name("circuits.lua"))
        self._window = settings.circuit_window_seconds * 1_000_000

    def view(self) -> dict[str, dict[str, Any]]:
        """By name, as `GET /v1/circuits` shows them; one round trip. One that nobody has entered yet is closed.

        Raises one of `broker.LOST`.
        """
        rows = self._read(args=[self._window, *map(keys.circuit, ports.CIRCUITS)])
        return {name: _shown(*row) for name, row in zip(ports.CIRCUITS, rows, strict=True)}


def _shown(state: bytes, failures: int, opened_at: bytes | None, next_probe_at: bytes | None) -> dict[str, Any]:
    return {
        "state": state.decode(),
        "failures": failures,
        "opened_at": _time(opened_at),
        "next_probe_at": _time(next_probe_at),
    }


def _time(micros: bytes | None) -> str | None:
    return instant(from_micros(int(micros))) if micros else None
