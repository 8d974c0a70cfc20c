"""Processes of a run: started with its environment, their output kept in a file, killed with their descendants."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.servers import ROOT
from local.processes import kill, with_descendants


@contextmanager
def running(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str], log: Path, *, cwd: Path = ROOT
) -> Iterator[list[psutil.Process]]:
    """The processes of these commands; all of them, and whatever they started, are gone afterwards. They are not asked
    to stop: what they were measured at is over, and the next run begins with empty servers."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("ab") as output:
            started.extend(
                subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # Ctrl-C reaches the harness alone, which stops them in order
                )
                for command in commands
            )
        yield [psutil.Process(process.pid) for process in started]
    finally:
        kill(with_descendants(psutil.Process(process.pid) for process in started if process.poll() is None))
        for process in started:
            process.wait()


@contextmanager
def halted(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Let these processes do nothing for the length of the block."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def processor_seconds(processes: Sequence[psutil.Process]) -> float:
    """What these processes have used of processors so far, user and system; those that have gone, nothing."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def family(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """The processes and all below them."""
    return with_descendants(processes)
