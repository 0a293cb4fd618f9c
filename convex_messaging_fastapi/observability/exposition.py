"""Shows samples in a registry of `prometheus_client`; the one file that knows that package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.measuring import BOUNDARIES
from convex_messaging_fastapi.observability.durations import Durations
from convex_messaging_fastapi.observability.durations import Exemplar as Kept
from convex_messaging_fastapi.observability.metrics import METRICS, PREFIX, Samples

_LE = (*(str(bound) for bound in BOUNDARIES), "+Inf")

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class Exposition:
    """A collector, which a registry asks at every scrape, in any thread. `fill` has the values."""

    def __init__(self, registry: CollectorRegistry | None, fill: Callable[[Samples], None]) -> None:
        self._registry = REGISTRY if registry is None else registry
        self._fill = fill

    def show(self) -> None:
        """Raises `ConfigurationError` where the registry has these names already."""
        try:
            self._registry.register(self)
        except ValueError as error:
            raise ConfigurationError(
                "this registry shows the metrics of another bus already: give both buses one and the same "
                "Prometheus(), or each a registry of its own"
            ) from error

    def hide(self) -> None:
        self._registry.unregister(self)

    def describe(self) -> Iterator[Metric]:
        """The names, for the registry to compare: nobody is asked for a value."""
        return self._families(Samples())

    def collect(self) -> Iterator[Metric]:
        samples = Samples()
        self._fill(samples)
        return self._families(samples)

    def _families(self, samples: Samples) -> Iterator[Metric]:
        for name, metric in METRICS.items():
            if metric.kind == "histogram":
                yield _histogram(name, samples)
                continue
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(PREFIX + name, metric.help, labels=metric.labels)
            for labels, value in samples.values[name].items():
                family.add_metric(labels, value)
            yield family


def _histogram(name: str, samples: Samples) -> HistogramMetricFamily:
    metric = METRICS[name]
    family = HistogramMetricFamily(PREFIX + name, metric.help, labels=metric.labels)
    for labels, durations in samples.durations[name].items():
        family.add_metric(labels, buckets=_buckets(durations), sum_value=durations.seconds)
    return family


def _buckets(durations: Durations) -> list[Bucket]:
    counts, exemplars = accumulate(durations.counts), durations.exemplars
    return [
        (le, count) if kept is None else (le, count, _exemplar(kept))
        for le, count, kept in zip(_LE, counts, exemplars, strict=True)
    ]


def _exemplar(kept: Kept) -> Exemplar:
    return Exemplar({"trace_id": kept.trace_id}, kept.seconds, kept.at)
