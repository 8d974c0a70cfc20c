"""Starts what a stack is made of, in order; sees when a part ends; stops all of it, and only it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO
from urllib.parse import urlsplit

import psutil
import requests

from local.environment import (
    MARK,
    choose_port,
    compose,
    load_secrets,
    needs_simulator,
    with_simulator,
    worker_processes,
)
from local.people import Credentials
from local.postgres import Postgres
from local.processes import StartError, end, find, free_port, listens, tail, wait_until
from local.record import Description, Entry, Listed, Record, Simulator
from local.redis import Redis
from local.urls import every, own

READY_WITHIN = 60
OK_WITHIN = 15
STOP_WITHIN = 28  # a process has 25 s after SIGTERM (CONTRACT.md §9)
LOG_LIMIT = 16 << 20


def read_procfile(path: Path) -> dict[str, str]:
    """Name and command of each line of a Procfile."""
    return dict(re.findall(r"^([\w-]+):\s*(.+?)\s*$", path.read_text(), re.MULTILINE))


class Supervisor:
    """One stack. Its owner holds `record.lock()` and calls start, watch, stop.

    root: the checkout. given: the environment it was started in. say: takes a line for the person at the terminal.
    """

    def __init__(self, root: Path, given: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.record = Record(root / ".local")
        self._root = root
        self._given = given
        self._say = say
        self._postgres = None if given.get("DATABASE_URL") else Postgres(self.record.folder / "postgres")
        self._redis = None if given.get("REDIS_URL") else Redis(self.record.folder / "redis")
        self._entries = [Entry.of("supervisor", os.getpid())]
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> Description:
        """Start everything and wait until it is ready. Raises StartError; `stop` is still to be called then."""
        self._clear_up()
        commands = read_procfile(self._root / "Procfile")
        workers = worker_processes(self._given)
        port, remark = choose_port(self._given)
        if remark:
            self._say(remark)
        known, _ = load_secrets(self.record.folder)
        environment = compose(self._given, known, port)
        self._start_servers()
        urls = every(self._given, self._postgres, self._redis)
        self._release(commands.pop("release"), environment | urls)
        self._seed(urls["DATABASE_URL"], known["users"])
        commands["worker"] += f" --processes {workers}"
        carrier = None
        if needs_simulator(self._given):
            carrier = Simulator(url=f"http://127.0.0.1:{free_port()}", ledger=str(self.record.folder / "carrier.jsonl"))
            environment |= with_simulator(self._given, known, carrier["url"])
            self._simulate(carrier, environment)
        for name, command in commands.items():
            self._spawn(name, command, environment | own(name, self._postgres, self._redis))
        base_url = f"http://127.0.0.1:{port}"
        self._await_ready(base_url)
        description = Description(
            base_url=base_url,
            database_url=urls["DATABASE_URL"],
            read_database_url=urls["READ_DATABASE_URL"],
            write_database_url=urls["WRITE_DATABASE_URL"],
            redis_url=urls["REDIS_URL"],
            carrier=carrier,
            users=known["users"],
            processes=[Listed(name=entry.name, pid=entry.pid) for entry in self._entries[1:]],
        )
        self.record.write_description(description)
        return description

    def watch(self) -> None:
        """Stay for good, and say so when a part ends by itself; nothing is started again."""
        told: set[str] = set()
        while True:
            for entry in self._entries[1:]:
                if entry.name not in told and not entry.process():
                    told.add(entry.name)
                    child = self._children.get(entry.name)
                    code = "" if child is None else f" with exit code {child.poll()}"
                    self._say(f"{entry.name} (process {entry.pid}) has ended{code}; see {self._log(entry.name)}")
            sleep(0.5)

    def stop(self) -> None:
        """End every part: first those that use the servers, then the servers."""
        self.record.forget()
        carrier = self._children.get("carrier")
        end([one for one in self._marked() if not carrier or one.pid != carrier.pid], within=STOP_WITHIN)
        end(self._marked(), within=STOP_WITHIN)  # the carrier: calls that were being placed have their answers
        for child in self._children.values():
            child.wait()
        self._stop_servers()
        self.record.write_entries([])

    def _clear_up(self) -> None:
        """End what an earlier run left behind when it was killed; the servers see to that themselves."""
        self.record.forget()
        left = self._marked()
        if left:
            self._say(f"Ending {len(left)} processes that an earlier run left behind.")
            end(left, within=5)
        self.record.write_entries(self._entries)

    def _marked(self) -> list[psutil.Process]:
        """Every process that a stack of this checkout started, by its mark in their environment."""
        mark = load_secrets(self.record.folder)[0]["mark"]
        return find(lambda process: process.pid != os.getpid() and process.environ().get(MARK) == mark)

    def _start_servers(self) -> None:
        """PostgreSQL and Redis at once, unless they are elsewhere."""
        with ThreadPoolExecutor() as pool:
            for start in [pool.submit(server.start) for server in (self._postgres, self._redis) if server]:
                start.result()
        if self._postgres and self._postgres.elsewhere:
            self._say(f"PostgreSQL may not run as root, and no other account can enter this folder: "
                      f"its data is in {self._postgres.home}")  # fmt: skip
        for name, server in (("postgres", self._postgres), ("redis", self._redis)):
            if server and server.pid:
                self._entries.append(Entry.of(name, server.pid))
        self.record.write_entries(self._entries)

    def _stop_servers(self) -> None:
        with ThreadPoolExecutor() as pool:
            for stop in [pool.submit(server.stop) for server in (self._postgres, self._redis) if server]:
                stop.result()

    def _release(self, command: str, environment: dict[str, str]) -> None:
        with self._open_log("release") as log:
            done = subprocess.run(
                ["/bin/sh", "-c", command], cwd=self._root, env=environment, stdout=log, stderr=log, check=False
            )
        if done.returncode:
            log_file = self._log("release")
            raise StartError(f"The release command failed; the end of {log_file}:\n{tail(log_file)}")

    def _seed(self, database_url: str, people: list[Credentials]) -> None:
        from local.seed import seed  # here, so that a stack can be stopped whatever the models are like

        for email in seed(database_url, people, ours=self._postgres is not None):
            self._say(f"{email} exists in that database, with a password not known here.")

    def _simulate(self, carrier: Simulator, environment: dict[str, str]) -> None:
        """Start the carrier simulator, and wait until it listens: nobody else is to be up without it."""
        port = urlsplit(carrier["url"]).port or 0
        command = ["python", "-m", "local.carrier", "--port", str(port), "--ledger", carrier["ledger"]]
        self._spawn("carrier", shlex.join(command), environment)
        child = self._children["carrier"]
        wait_until(lambda: listens(port) or child.poll() is not None, within=READY_WITHIN)
        self._check_children()

    def _spawn(self, name: str, command: str, environment: dict[str, str]) -> None:
        with self._open_log(name) as log:
            child = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                cwd=self._root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this supervisor alone, which stops them in order
            )
        self._children[name] = child
        self._entries.append(Entry.of(name, child.pid))
        self.record.write_entries(self._entries)

    def _await_ready(self, base_url: str) -> None:
        """Until /readyz is 200, and for a little longer until it is `ok` (the workers have come as well)."""
        began = monotonic()
        while True:
            self._check_children()
            problems = readiness(base_url)
            waited = monotonic() - began
            if problems == [] or (problems and waited > OK_WITHIN):
                break
            if waited > READY_WITHIN:
                raise StartError(f"{base_url}/readyz did not come up; the end of the log:\n{tail(self._log('web'))}")
            sleep(0.05)
        for problem in problems:
            self._say(f"Not as it should be, says {base_url}/readyz: {problem}")

    def _check_children(self) -> None:
        for name, child in self._children.items():
            if child.poll() is not None:
                log = self._log(name)
                raise StartError(f"{name} ended with exit code {child.returncode}; the end of {log}:\n{tail(log)}")

    def _log(self, name: str) -> Path:
        return self.record.folder / "logs" / f"{name}.log"

    def _open_log(self, name: str) -> BinaryIO:
        log = self._log(name)
        log.parent.mkdir(mode=0o700, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        return log.open("ab")


def readiness(base_url: str) -> list[str] | None:
    """What /readyz finds wrong, nothing when all is well; None while the service is not ready."""
    try:
        answer = requests.get(f"{base_url}/readyz", timeout=2)
    except requests.RequestException:
        return None
    if answer.status_code != requests.codes.ok:
        return None
    said = answer.json()
    if said.get("status", "ok") == "ok":
        return []
    checks = said.get("checks", {})
    return [f"{name}: {check['detail']}" for name, check in checks.items() if not check["ok"]] or [str(said)]
