"""Traces through OpenTelemetry's SDK, which itself reads endpoint, headers, sampler and resource from `OTEL_*`.

Imported only if tracing is enabled: `pip install 'sohu-registry[otel]'` installs the packages.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from requests import Session
from typing_extensions import override

from core.errors import StorageUnavailableError
from core.ports.tracing import SetStatus, StorageObserver, Tracer

DEFAULT_SERVICE: Final = "registry"
_SCOPE: Final = "sohu-registry"
_SERVER_ERROR: Final = 500
_FLUSH_MILLISECONDS: Final = 3000


def make_exporters(names: Sequence[str]) -> list[SpanExporter]:
    """Return the exporters with these names, as in `OTEL_TRACES_EXPORTER`."""
    kinds: Mapping[str, Callable[[], SpanExporter]] = {"otlp": _otlp_exporter, "console": ConsoleSpanExporter}
    return [kinds[name]() for name in names]


def _otlp_exporter() -> OTLPSpanExporter:
    session = Session()
    # Spans, and the headers of OTEL_EXPORTER_OTLP_HEADERS, must go to the operator's collector only.
    session.max_redirects = 0
    return OTLPSpanExporter(session=session)


class OtelTracer(Tracer):
    """Sends spans in batches, from a thread; the SDK drops and logs spans that cannot be sent.

    Args:
        exporters: the destinations of spans.
        version: version of the registry.
    """

    def __init__(self, exporters: Sequence[SpanExporter], *, version: str) -> None:
        own = Resource({SERVICE_NAME: DEFAULT_SERVICE, "service.version": version})
        # Environment variables take precedence: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        for exporter in exporters:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(_SCOPE, version)
        self._propagator = TraceContextTextMapPropagator()

    @override
    @contextmanager
    def request(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str]) -> Iterator[SetStatus]:
        parent = self._propagator.extract(headers)
        with self._tracer.start_as_current_span(
            name, context=parent, kind=SpanKind.SERVER, attributes=dict(attributes)
        ) as span:

            def set_status(status: int) -> None:
                span.set_attribute("http.response.status_code", status)
                if status >= _SERVER_ERROR:
                    span.set_status(Status(StatusCode.ERROR))

            yield set_status

    @property
    @override
    def trace_id(self) -> str:
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else ""

    @override
    def storage_observer(self, driver: str) -> StorageObserver:
        def observe(operation: str, seconds: float, error: type[BaseException] | None) -> None:
            if not trace.get_current_span().is_recording():
                # A background operation outside of any request, or a request that is not sampled.
                return
            ended = time.time_ns()
            span = self._tracer.start_span(
                f"storage {operation}",
                kind=SpanKind.CLIENT,
                attributes={"registry.storage.driver": driver, "registry.storage.operation": operation},
                start_time=ended - int(seconds * 1e9),
            )
            if error is not None:
                span.set_attribute("error.type", error.__name__)
                if issubclass(error, StorageUnavailableError):
                    span.set_status(Status(StatusCode.ERROR))
            span.end(ended)

        return observe

    @override
    def close(self) -> None:
        self._provider.force_flush(_FLUSH_MILLISECONDS)
        self._provider.shutdown()
