"""Real processes for tests: started with a test's settings, ended with it, each by its own id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from config import Settings

ROOT = Path(__file__).resolve().parent.parent


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """An environment from which `Settings.from_env` makes these settings."""
    values = settings.model_dump(mode="json")
    given = {name.upper(): ",".join(value) if isinstance(value, list) else str(value) for name, value in values.items()}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **given, **more}


@contextmanager
def running(command: list[str], settings: Settings, log: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the checkout's root; at the end it is asked to stop, then killed with its children."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(settings, **more), stdout=output, stderr=output)
    try:
        yield process
    finally:
        family = children(process.pid)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        for left in family:
            if left.is_running():
                left.kill()


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill(process: psutil.Process) -> None:
    process.send_signal(signal.SIGKILL)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something to become true. Raises AssertionError when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)
