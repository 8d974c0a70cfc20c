"""Processes that this checkout started: found again by their own traces, and ended by id, never by name."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic, sleep

import psutil


class StartError(Exception):
    """Something local did not start; the message says what, and what to do."""


def free_port() -> int:
    """A loopback TCP port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on host:port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server takes connections at host:port now."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def same_process(pid: int, created: float) -> psutil.Process | None:
    """The live process `pid`, if it is still the one that started at `created` (seconds since the epoch)."""
    try:
        process = psutil.Process(pid)
        return process if abs(process.create_time() - created) < 1 and alive(process) else None
    except psutil.NoSuchProcess:
        return None


def find(wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Every live process that `wanted` says yes to; those we may not look into are passed over."""
    found = []
    for process in psutil.process_iter():
        try:
            if wanted(process) and alive(process):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes and all below them, each once."""
    found: dict[int, psutil.Process] = {}
    for process in processes:
        found[process.pid] = process
        try:
            found |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def send(processes: Iterable[psutil.Process], signum: signal.Signals) -> None:
    """Signal each process that still is the one it was."""
    for process in processes:
        try:
            process.send_signal(signum)
        except psutil.NoSuchProcess:
            continue


def end(processes: Iterable[psutil.Process], *, within: float, first: signal.Signals = signal.SIGTERM) -> None:
    """Ask the processes to end, wait up to `within` seconds, and kill those and their descendants that did not."""
    asked = list(processes)
    everyone = with_descendants(asked)
    send(asked, first)
    if not wait_until(lambda: not any(map(alive, everyone)), within=within):
        kill(filter(alive, everyone))


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL the processes and wait until they are gone."""
    killed = list(processes)
    send(killed, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, killed)), within=10)


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that only waits to be reaped by its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(true: Callable[[], bool], *, within: float, every: float = 0.02) -> bool:
    """Ask `true` again and again for up to `within` seconds; whether it came true."""
    deadline = monotonic() + within
    while not true():
        if monotonic() > deadline:
            return False
        sleep(every)
    return True


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, indented; empty when there is none."""
    if not log.exists():
        return ""
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])


def make_passable(folder: Path) -> None:
    """Make a folder that others may pass through, on their way to what is theirs in it, but not look into."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o711)  # whatever the umask says


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
