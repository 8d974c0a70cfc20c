"""The pace: how many jobs a worker takes at a time, by how long the last ones took.

Small while there is little to do, so that idle workers share it and nobody waits for a long batch to end; large under
backlog, where a transaction and two Redis calls for many cost little more than for one.
"""

from __future__ import annotations

FIRST = 32
BRISK_SECONDS, SLOW_SECONDS = 0.1, 0.3
"""A batch that takes less may grow; one that takes more shrinks. A job waits at most about so long for its batch."""


class Pace:
    """`size` is how many to take next; `most` bounds it. `brisk`: the last batch ended soon, so that it does no harm to
    what is taken ahead to wait for its end."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = min(FIRST, most)
        self.brisk = False

    def full(self, taken: int) -> bool:
        """Whether there are probably more: the last batch was as large as it might be."""
        return taken >= self.size

    def learn(self, taken: int, seconds: float) -> None:
        """`taken` jobs took `seconds`."""
        self.brisk = seconds <= SLOW_SECONDS
        if not self.brisk:
            self.size = max(1, taken // 2)
        elif taken >= self.size and seconds < BRISK_SECONDS:
            self.size = min(self._most, self.size * 2)
        elif taken < self.size // 2:
            self.size = max(min(FIRST, self._most), self.size // 2)
