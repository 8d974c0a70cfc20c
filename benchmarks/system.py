"""One system as the harness sees it: its driver process, and its workers when they are wanted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import psutil

from benchmarks.processes import running
from benchmarks.servers import ROOT, Servers
from benchmarks.systems.work import Shape
from local.processes import end

CUSTOMERS = 10_000


class DriverError(Exception):
    """A driver ended without an answer; the message holds the end of its log."""


@dataclass
class System:
    """A running driver. It knows in `_next` which orders it has made."""

    name: str
    title: str
    servers: Servers
    version: str
    bulk: bool
    shapes: dict[str, Shape]
    _driver: subprocess.Popen[str]
    _log: Path
    _next: int = field(default=0)

    @classmethod
    @contextmanager
    def started(
        cls, name: str, title: str, servers: Servers, command: Sequence[str], *, cwd: Path | None = None
    ) -> Iterator[System]:
        """The system, its driver ready to be asked; the driver ends with the block."""
        log = servers.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            driver = subprocess.Popen(
                command,
                cwd=cwd or ROOT,
                env=servers.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        system = cls(name, title, servers, "", False, {}, driver, log)
        try:
            said = system._ask("describe")
            system.version, system.bulk = said["version"], said["bulk"]
            system.shapes = {key: Shape(**shape) for key, shape in said["shapes"].items()}
            yield system
        finally:
            end([psutil.Process(driver.pid)] if driver.poll() is None else [], within=2)
            driver.wait()

    def enqueue(self, count: int, *, bulk: bool = False, seconds: float = 120, owners: int = 1) -> tuple[int, float]:
        """Enqueue up to `count` orders of CUSTOMERS in turn in up to `seconds`; how many, and the seconds that took."""
        spread = {"customers": CUSTOMERS, "owners": owners}
        said = self._ask("enqueue", first=self._next, count=count, seconds=seconds, bulk=bulk, **spread)
        self._next += said["count"]
        return said["count"], said["seconds"]

    def pace(self, rate: float, seconds: float) -> dict[str, float]:
        """Enqueue at a steady rate; when each order was asked for, by its id, in seconds since the epoch."""
        said = self._ask("pace", first=self._next, rate=rate, seconds=seconds, customers=CUSTOMERS, owners=1)
        self._next += len(said["asked"])
        return cast(dict[str, float], said["asked"])

    def finished(self) -> int:
        """How many results are stored."""
        return int(self._ask("finished")["count"])

    @contextmanager
    def working(self, shape: str, **environment: str) -> Iterator[list[psutil.Process]]:
        """Its workers, in one of its shapes; gone afterwards."""
        log = self._log.with_name(f"{self.name}-workers.log")
        with running(self.shapes[shape].commands, self.servers.environment(**environment), log) as processes:
            yield processes

    def _ask(self, ask: str, **request: Any) -> dict[str, Any]:
        stdin, stdout = cast(IO[str], self._driver.stdin), cast(IO[str], self._driver.stdout)
        try:
            stdin.write(json.dumps({"ask": ask, **request}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise DriverError(f"{self.name}: {' '.join(self._log.read_text().splitlines()[-5:])}")
        return cast(dict[str, Any], json.loads(line))
