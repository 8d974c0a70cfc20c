"""The supervisor: starts worker processes, starts those that die again, and takes them along when it goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

import structlog

log = structlog.get_logger(__name__)

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a process that keeps dying is started again."""

HEALTHY_SECONDS = 10
STOP_SECONDS = 24


class Supervisor:
    """Keeps `processes` children running `command`. Each holds the read end of a pipe as its standard input: when
    this process is gone, however it went, they read the end of it and stop."""

    def __init__(self, command: Sequence[str], processes: int) -> None:
        self._command = list(command)
        self._stopping = threading.Event()
        self._children = [_Child(self._command) for _ in range(processes)]

    def run(self) -> int:
        """Watch until asked to stop; 0 when every child then ended by itself in time."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        while not self._stopping.is_set():
            for child in self._children:
                child.keep_running()
            self._stopping.wait(0.1)
        return self._end()

    def _end(self) -> int:
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children:
            child.ask()
        return max(child.end(deadline) for child in self._children)

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()


class _Child:
    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._not_before = 0.0
        self._deaths = 0

    def keep_running(self) -> None:
        now = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._deaths = 0 if now - self._started > HEALTHY_SECONDS else self._deaths + 1
            self._not_before = now + BACK_OFF[min(self._deaths, len(BACK_OFF) - 1)]
            log.warning("worker_process_ended", pid=self._process.pid, code=code)
            self._process = None
        if now >= self._not_before:
            self._started = now
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)

    def ask(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def end(self, deadline: float) -> int:
        if self._process is None:
            return 0
        try:
            return abs(self._process.wait(max(0.1, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return 1


def stop_with_parent(stop: Callable[[], None]) -> None:
    """In a child: call `stop` when the supervisor is gone, which ends standard input."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        stop()

    threading.Thread(target=wait, daemon=True, name="parent").start()


def this_python(*arguments: str) -> list[str]:
    """The command line of a child: this interpreter, this module, these arguments."""
    return [sys.executable, "-m", "workers", *arguments]
