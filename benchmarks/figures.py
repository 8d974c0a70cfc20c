"""The arithmetic of the benchmark: medians of rounds and spreads of times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median


@dataclass(frozen=True)
class Spread:
    """How times are spread; all in the unit of the samples."""

    count: int
    p50: float
    p99: float
    worst: float


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` (0 to 1) of all do not exceed: the nearest-rank percentile, which is
    always one that was seen. Raises ValueError for no samples."""
    if not samples:
        raise ValueError("no samples")
    return sorted(samples)[max(0, ceil(share * len(samples)) - 1)]


def spread(samples: Sequence[float]) -> Spread:
    """How they are spread. Raises ValueError for no samples."""
    return Spread(len(samples), percentile(samples, 0.5), percentile(samples, 0.99), max(samples))


def middle(samples: Iterable[float | None]) -> float | None:
    """The median of the samples that there are; None when there are none."""
    found = [sample for sample in samples if sample is not None]
    return median(found) if found else None


def largest(samples: Iterable[float | None]) -> float | None:
    """The largest of the samples that there are; None when there are none."""
    return max((sample for sample in samples if sample is not None), default=None)


def ratio(figure: float | None, other: float | None) -> float | None:
    """The one over the other; None when either is missing, or the other is nothing."""
    return figure / other if figure is not None and other else None
