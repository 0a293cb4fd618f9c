"""An SDK of OpenTelemetry as services have it, whose spans go in batches to an exporter that drops them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from benchmarks.job import Job


class _Drops(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def sampling_of(job: Job) -> Sampler:
    """All or nothing, as the contestant's name says."""
    return ALWAYS_OFF if job.contestant.endswith("unsampled") else ALWAYS_ON


@contextmanager
def traced(sampler: Sampler) -> Iterator[TracerProvider]:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Drops()))
    try:
        yield provider
    finally:
        provider.shutdown()
