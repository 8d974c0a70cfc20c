"""The tally: what this process counts, noted in its memory until it is added to what is counted of all (`jobs.kernel.counting`).

To note something costs a fraction of a microsecond, waits for nobody, and can be done in any thread, greenlet or
signal handler: it is appended to a queue, and added up by whoever takes it from there.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from jobs.kernel.meters import Counter, Histogram

MOST = 100_000
"""Notes that are kept where nobody adds them up, in a command for example; the oldest go first."""


class Tally:
    """Notes of what was counted and measured."""

    def __init__(self) -> None:
        self._counted: deque[tuple[Counter, tuple[object, ...], int]] = deque(maxlen=MOST)
        self._measured: deque[tuple[Histogram, tuple[object, ...], Sequence[float], int]] = deque(maxlen=MOST)

    def count(self, meter: Counter, *labels: object, by: int = 1) -> None:
        """Note that something happened. `labels`: as the meter names them; of a few values each."""
        self._counted.append((meter, labels, by))

    def measure(self, meter: Histogram, values: Sequence[float], *labels: object, times: int = 1) -> None:
        """Note what something came to, each so many times. `values`: are the tally's from now on."""
        if values and times:
            self._measured.append((meter, labels, values, times))

    def take(self) -> dict[str, int]:
        """What was noted since, added up by fields (`jobs.kernel.meters`)."""
        sums: dict[str, int] = {}
        with suppress(IndexError):  # somebody else has taken it
            for _ in range(len(self._counted)):
                counter, labels, amount = self._counted.popleft()
                counter.add(sums, labels, amount)
            for _ in range(len(self._measured)):
                histogram, labels, values, times = self._measured.popleft()
                histogram.add(sums, labels, values, times)
        return sums

    def forget(self) -> None:
        """Drop all notes: a process that is forked off has counted nothing yet."""
        self._counted.clear()
        self._measured.clear()


tally = Tally()
"""This process's. It is noted in wherever something happens, as a log is written; nothing is connected to by it."""

os.register_at_fork(after_in_child=tally.forget)
