"""Spans of requests for an OpenTelemetry collector, where RECSYS_TRACES names one; a caller's trace is continued.

A course already holds when each stage began and how long it took. Spans are made from it after the answer, so a request
that is not traced pays nothing.
"""

from __future__ import annotations

import time
from typing import Any

from recsys.serving.course import Course


class Traces:
    """Sends a share of the requests' spans to a collector (OTLP over HTTP) in the background, in batches.

    Args:
        endpoint: such as http://localhost:4318
        share: of the requests that no caller decided about; a caller's own decision (traceparent) is kept
    """

    def __init__(self, endpoint: str, share: float) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(share), resource=Resource.create({"service.name": "recommender"})
        )
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=4096))
        self._tracer = self._provider.get_tracer("recsys.serving")
        self._propagator = TraceContextTextMapPropagator()
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()

    def request(self, front: str, route: str, code: str, course: Course) -> None:
        """The spans of one answered request."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        parent = self._propagator.extract({"traceparent": course.traceparent}) if course.traceparent else None
        span = self._tracer.start_span(route, context=parent, kind=SpanKind.SERVER, start_time=self._at(course.began))
        if span.is_recording():
            told: dict[str, Any] = {
                "request_id": course.request_id,
                "front": front,
                "code": code,
                "rung": course.rung,
                "role": course.role,
                "bundle": course.bundle,
                "candidates": course.candidates,
                "done_without": course.down,
            }
            span.set_attributes(told)
            if code not in ("200", "OK"):
                span.set_status(Status(StatusCode.ERROR))
            inside = set_span_in_context(span)
            for stage in course.stages:
                child = self._tracer.start_span(stage.name, context=inside, start_time=self._at(stage.began))
                child.end(self._at(stage.began + stage.seconds))
        span.end(self._at(time.perf_counter()))

    def close(self) -> None:
        """Send what is waiting."""
        self._provider.shutdown()

    def _at(self, perf_seconds: float) -> int:
        return self._epoch_ns + int(perf_seconds * 1e9)
