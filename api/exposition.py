"""The exposition: what is counted of all processes together, and how everything stands, as Prometheus reads it.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, product
from operator import add

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from api.gauges import GAUGES, Sample
from jobs.kernel import registry
from jobs.kernel.meters import ABOVE, METERS, MILLIONTHS, SUM, Counter, Histogram, Meter, known
from jobs.kernel.outcome import FINAL
from jobs.kernel.policy import QUEUES

Labels = tuple[str, ...]


class Exposition(Collector):
    """One answer. `fields`: of `keys.METERS`; None where Redis could not tell, since none is not the same as 0."""

    def __init__(self, fields: Mapping[bytes, bytes] | None, samples: Iterable[Sample]) -> None:
        self._fields = fields
        self._samples = list(samples)

    def collect(self) -> Iterator[Metric]:
        """Every counter, histogram and gauge."""
        if self._fields is not None:
            by_word = _by_word(self._fields)
            for meter in METERS:
                counted = by_word.get(meter.word, {})
                yield _counter(meter, counted) if isinstance(meter, Counter) else _histogram(meter, counted)
        for gauge in GAUGES:
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for sample in self._samples:
                if sample.gauge is gauge:
                    family.add_metric(sample.labels, sample.value)
            yield family

    def written(self, accept: str) -> tuple[bytes, str]:
        """The whole as text, and its media type. `accept`: the header, of whoever asks."""
        kept = CollectorRegistry(auto_describe=False)
        kept.register(self)
        try:
            write, media_type = choose_encoder(accept)
        except TypeError:  # it names a version that is none
            write, media_type = choose_encoder("")
        return write(kept), media_type


def shown(meter: Meter) -> Labels:
    """The labels of a meter as they are shown: behind each kind its queue."""
    return tuple(label for name in meter.labels for label in ((name, "queue") if name == "kind" else (name,)))


def _by_word(fields: Mapping[bytes, bytes]) -> dict[str, dict[Labels, int]]:
    """What was counted, by the words of its meter and by the rest of its field."""
    found: dict[str, dict[Labels, int]] = defaultdict(dict)
    for field, value in fields.items():
        word, *rest = field.decode().split("|")
        found[word][tuple(rest)] = int(value)
    return found


def _counter(meter: Counter, counted: Mapping[Labels, int]) -> Metric:
    """From the start there is a 0 where it can be known what will be counted: a rate is told from the first on."""
    sums: dict[Labels, int] = defaultdict(int)
    values = {"kind": [kind.kind for kind in registry.every()], "queue": QUEUES, "outcome": sorted(FINAL)}
    if values.keys() >= set(meter.labels):
        sums.update((_labels(meter, named), 0) for named in product(*(values[label] for label in meter.labels)))
    for named, value in counted.items():
        if len(named) == len(meter.labels):
            sums[_labels(meter, named)] += value
    family = CounterMetricFamily(meter.name, meter.help, labels=shown(meter))
    for labels, value in sums.items():
        family.add_metric(labels, value)
    return family


def _histogram(meter: Histogram, counted: Mapping[Labels, int]) -> Metric:
    place = {name: at for at, name in enumerate((*meter.names, SUM))}
    found: dict[Labels, list[int]] = defaultdict(lambda: [0] * len(place))
    for (*start, last), value in counted.items():
        if len(start) == len(meter.labels):
            found[tuple(start)][place[last] if last in place else _next(meter, last)] += value
    series: dict[Labels, list[int]] = {}
    for named, counts in found.items():
        labels = _labels(meter, named)
        series[labels] = [*map(add, series[labels], counts)] if labels in series else counts
    family = HistogramMetricFamily(meter.name, meter.help, labels=shown(meter))
    names = [*map(floatToGoString, meter.bounds), ABOVE]
    for labels, (*counts, total) in series.items():
        family.add_metric(labels, [*zip(names, accumulate(counts), strict=True)], total / MILLIONTHS)
    return family


def _next(meter: Histogram, bound: str) -> int:
    """Where a bucket counts that there is no more, of an earlier release: in the next larger one."""
    return bisect_left(meter.bounds, float(bound))


def _labels(meter: Meter, named: Iterable[str]) -> Labels:
    return tuple(
        label
        for name, value in zip(meter.labels, named, strict=True)
        for label in (known(value) if name == "kind" else (value,))
    )
