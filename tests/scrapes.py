"""What /metrics tells, read as Prometheus reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics
from prometheus_client.parser import text_string_to_metric_families as of_text


class Scrape:
    """One answer. Raises ValueError where it is not well formed."""

    def __init__(self, body: str, media_type: str = "text/plain") -> None:
        read = of_openmetrics if media_type.startswith("application/openmetrics-text") else of_text
        self.families: dict[str, Metric] = {family.name: family for family in read(body)}
        self._values: dict[str, dict[frozenset[tuple[str, str]], float]] = defaultdict(dict)
        for family in self.families.values():
            for sample in family.samples:
                labels = frozenset(sample.labels.items())
                assert labels not in self._values[sample.name], f"{sample.name} is told twice of {labels}"
                self._values[sample.name][labels] = sample.value

    @property
    def labels(self) -> Mapping[str, frozenset[str]]:
        """The names of labels of each name that a sample has."""
        return {
            name: frozenset(label for labels in values for label, _ in labels) for name, values in self._values.items()
        }

    def by(self, name: str, *by: str, **where: str) -> dict[tuple[str, ...], float]:
        """The samples of a name, those alone that have these labels; added up by some of their labels. None that is 0."""
        found: dict[tuple[str, ...], float] = defaultdict(float)
        for labels, value in self._values[name].items():
            if where.items() <= labels and value:
                found[tuple(dict(labels)[label] for label in by)] += value
        return dict(found)

    def __call__(self, name: str, **where: str) -> float:
        """The sum of the samples of a name that have these labels; there is one at least."""
        found = [value for labels, value in self._values[name].items() if where.items() <= labels]
        assert found, f"{name} is not told of {where}"
        return sum(found)
