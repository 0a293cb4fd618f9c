"""What tests of metrics share: a scrape as a Prometheus sees it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parsed
from prometheus_client.samples import Sample

from convex_messaging_fastapi.observability.metrics import METRICS, PREFIX


def scrape(registry: CollectorRegistry) -> list[Sample]:
    """Every series, read back from the text that a Prometheus gets."""
    text = generate_latest(registry).decode()
    return [sample for family in parsed(text) for sample in family.samples]


def scrape_openmetrics(registry: CollectorRegistry) -> list[Sample]:
    text = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return [sample for family in families for sample in family.samples]


def of(samples: list[Sample], name: str) -> Mapping[tuple[str, ...], float]:
    """The values of one metric by its labels, in their order on file, those that are 0 left out."""
    order = METRICS[name.removesuffix("_total").removesuffix("_count")].labels
    found = (sample for sample in samples if sample.name == PREFIX + name and sample.value)
    return {tuple(sample.labels[label] for label in order): sample.value for sample in found}
