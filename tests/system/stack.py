"""The whole system as it runs in production, on servers of its own that a test may kill."""

from __future__ import annotations

import json
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any, Self
from uuid import UUID

import psutil
import requests
from argon2 import PasswordHasher

from config import Settings
from local.processes import free_port
from tests.processes import children, python, running, until
from tests.system.client import Client
from tests.system.servers import Servers

API_PROCESSES = 3
LAST = {"Connection": "close"}
"""So that the next request is taken by whichever process comes."""

LOGS = ("api", "workers", "scheduler")
ADD_PERSON = "INSERT INTO users (email, name, password_hash, role) VALUES (%s, %s, %s, %s) RETURNING id::text"


@dataclass(frozen=True)
class Entry:
    """How its processes are entered. `app`: what gunicorn serves. `workers`: the module of a worker. `told`: more of
    their environment."""

    app: str = "api.app:create_app()"
    workers: str = "workers"
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stack(Servers):
    """The API runs from `started` on; workers and schedulers as long as a test wants them.

    `secrets`: what must never be found in a log or in Redis.
    """

    entry: Entry = Entry()
    api_processes: int = API_PROCESSES
    port: int = field(default_factory=free_port)
    secrets: list[str] = field(default_factory=list)
    _clients: list[Client] = field(default_factory=list)
    _api: ExitStack = field(default_factory=ExitStack)
    _serving: list[psutil.Process] = field(default_factory=list)

    @classmethod
    @contextmanager
    def started(
        cls,
        folder: Path,
        redis_options: Mapping[str, str] | None = None,
        entry: Entry = Entry(),
        api_processes: int = API_PROCESSES,
        **more: Any,
    ) -> Iterator[Self]:
        """A stack with an empty, migrated database; all of it is gone afterwards. `more`: settings."""
        with Servers.started(folder, redis_options, **more) as servers, ExitStack() as stack:
            port = free_port()
            settings = servers.settings.model_copy(update={"public_base_url": f"http://127.0.0.1:{port}"})
            made = cls(folder, servers.postgres, servers.redis, settings, entry, api_processes, port)
            made.secrets.extend([made.settings.secret_key, made.settings.jwt_secret_key])
            for name in LOGS:
                made.log(name).touch()
            stack.callback(made.close)
            made.start_api()
            yield made
            made.assert_nothing_forbidden()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_api(self, **told: str) -> None:
        """Serve; returns when it answers. `told`: more of its environment."""
        self._serving.append(psutil.Process(self._api.enter_context(self.api(self.port, **told)).pid))

    @contextmanager
    def api(self, port: int, **told: str) -> Iterator[Popen[bytes]]:
        """The API, as the Procfile has it, on a port; it answers."""
        gunicorn = str(Path(sys.executable).with_name("gunicorn"))  # which can start itself again, as its module cannot
        command = [gunicorn, "--config", "deploy/gunicorn.py", "--bind", f"127.0.0.1:{port}", self.entry.app]
        more = {"WEB_CONCURRENCY": str(self.api_processes), **self.redis_as("api"), **self.entry.told, **told}
        with running(command, self.settings, self.log("api"), **more) as process:
            until(lambda: _answers(f"http://127.0.0.1:{port}"))
            yield process

    def renew_api(self) -> None:
        """Replace the processes of the API, as SIGHUP does; returns when the old ones have left."""
        old = {process.pid for process in self.serving()}
        self._serving[-1].send_signal(signal.SIGHUP)
        until(lambda: not old & {process.pid for process in self.serving()}, 60)

    def succeed_api(self) -> None:
        """Start a gunicorn beside the one that serves, on the same port, and then stop that one, as a release does."""
        old = self._serving[-1]
        old.send_signal(signal.SIGUSR2)
        until(lambda: any(len(child.children()) == self.api_processes for child in old.children()), 60)
        (new,) = (child for child in old.children() if child.children())
        self._api.callback(end, new)
        self._serving[-1] = new
        end(old)

    def stop_api(self, others: Sequence[Popen[bytes]] = ()) -> list[int]:
        """Ask the API and other processes to stop, all at once; their exit statuses, the API's first."""
        everyone = [self._serving.pop(), *others]
        for process in everyone:
            process.terminate()
        statuses = [process.wait(60) for process in everyone]
        self._api.close()
        return statuses

    def serving(self) -> list[psutil.Process]:
        """The processes of the API that answer requests now."""
        return children_of(self._serving[-1])

    @contextmanager
    def workers(
        self, processes: int = 2, batch: int = 50, told: Mapping[str, str] | None = None, **settings: Any
    ) -> Iterator[Popen[bytes]]:
        """A supervisor of workers of batches, which have all started. `told`: more of their environment. `settings`:
        changes to those of the stack."""
        changed = self.settings.model_copy(update=settings)
        with self._supervised(changed, told, processes, "--batch", str(batch)) as process:
            yield process

    @contextmanager
    def callers(
        self, processes: int = 1, threads: int = 16, told: Mapping[str, str] | None = None
    ) -> Iterator[Popen[bytes]]:
        """A supervisor of workers that place calls, which have all started."""
        size = ("--queues", "hangups,calls", "--threads", str(threads))
        with self._supervised(self.settings, told, processes, *size) as process:
            yield process

    @contextmanager
    def deliverers(
        self, processes: int = 1, threads: int = 8, told: Mapping[str, str] | None = None
    ) -> Iterator[Popen[bytes]]:
        """A supervisor of workers that deliver events, which have all started."""
        size = ("--queues", "deliveries", "--threads", str(threads))
        with self._supervised(self.settings, told, processes, *size) as process:
            yield process

    @contextmanager
    def _supervised(
        self, settings: Settings, told: Mapping[str, str] | None, processes: int, *arguments: str
    ) -> Iterator[Popen[bytes]]:
        log = self.log("workers")
        before = log.read_text().count("worker_started")
        command = python("-m", self.entry.workers, "--processes", str(processes), *arguments)
        more = {**self.redis_as("worker"), **self.entry.told, **(told or {})}
        with running(command, settings, log, **more) as process:
            until(lambda: log.read_text().count("worker_started") >= before + processes)
            yield process

    @contextmanager
    def scheduler(self) -> Iterator[Popen[bytes]]:
        """What promotes jobs that are due; it has started."""
        log = self.log("scheduler")
        before = log.read_text().count("scheduler_started") if log.exists() else 0
        with running(python("-m", "workers.scheduler"), self.settings, log, **self.redis_as("worker")) as process:
            until(lambda: log.read_text().count("scheduler_started") > before)
            yield process

    def person(self, role: str = "user", kind: Callable[..., Client] = Client) -> Client:
        """Somebody new, who has signed in."""
        name, password = secrets.token_hex(6), f"Canary-{secrets.token_hex(8)}"
        values = [f"{name}@example.com", name, PasswordHasher().hash(password), role]
        ((user_id,),) = self.rows(ADD_PERSON, *values)
        client = kind(self.base_url, {"email": values[0], "password": password}, UUID(user_id))
        assert client.get("/v1/jobs").status_code == 200
        self.secrets.extend([password, client.token])
        self._clients.append(client)
        return client

    def start_postgres(self, reader: Client) -> None:
        """Start it where it is down, and wait until every process of the API reads from it: each asks by the
        connections it had before, which are dead, and answers 503 once for that."""
        if self.postgres.pid is None:
            self.postgres.start()
        tries = range(10 * self.api_processes)
        until(lambda: all(reader.get("/v1/services", headers=LAST).status_code == 200 for _ in tries))

    def log(self, name: str) -> Path:
        """Where one of LOGS is kept."""
        return self.folder / f"{name}.log"

    def lines(self, name: str) -> list[Mapping[str, Any]]:
        """What one of LOGS holds of JSON."""
        return [json.loads(line) for line in self.log(name).read_text().splitlines() if line.startswith("{")]

    def count(self, name: str, event: str) -> int:
        """How often one of LOGS tells of an event."""
        return sum(line["event"] == event for line in self.lines(name))

    def close(self) -> None:
        """End the API, and all connections to it."""
        for client in self._clients:
            client.close()
        self._api.close()


def _answers(base_url: str) -> bool:
    try:
        return requests.get(f"{base_url}/healthz", timeout=2).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        return False


def end(process: psutil.Process) -> None:
    """Ask it to stop, where it runs; returns when it has."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 60)


def children_of(supervisor: Popen[bytes] | psutil.Process) -> list[psutil.Process]:
    """The processes of a supervisor that run now."""
    found = []
    for child in children(supervisor.pid):
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found
