"""Spans as OpenTelemetry's SDK records them."""

import asyncio
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from adapters.tracing.otel import OtelTracer, make_exporters
from core.errors import ObjectNotFoundError, StorageUnavailableError

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    tracer = OtelTracer([exporter], version="1.2.3")
    yield tracer
    tracer.close()


@pytest.fixture
def spans(tracer, exporter):
    def sent():
        tracer.close()
        return {span.name: span for span in exporter.get_finished_spans()}

    return sent


def test_request_continues_the_clients_trace(tracer, spans):
    with tracer.request("GET /v2/", HEADERS, {"url.path": "/v2/"}) as set_status:
        set_status(200)
    span = spans()["GET /v2/"]
    assert format(span.context.trace_id, "032x") == TRACE
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes) == {"url.path": "/v2/", "http.response.status_code": 200}
    assert span.status.status_code is StatusCode.UNSET
    assert span.resource.attributes["service.name"] == "registry"
    assert span.resource.attributes["service.version"] == "1.2.3"


def test_trace_id_exists_only_during_requests(tracer):
    assert tracer.trace_id == ""
    with tracer.request("continued", HEADERS, {}):
        assert tracer.trace_id == TRACE
    with tracer.request("begun", {}, {}):
        assert len(tracer.trace_id) == 32
        assert tracer.trace_id != TRACE
    assert tracer.trace_id == ""


def test_failures_are_marked(tracer, spans):
    with tracer.request("answered", {}, {}) as set_status:
        set_status(503)
    with pytest.raises(ConnectionError), tracer.request("raised", {}, {}):
        raise ConnectionError("gone")
    found = spans()
    assert {found[name].status.status_code for name in ("answered", "raised")} == {StatusCode.ERROR}


async def test_operations_belong_to_the_request_of_their_task(tracer, spans):
    observe = tracer.storage_observer("s3")

    async def serve(name):
        with tracer.request(name, {}, {}):
            await asyncio.sleep(0)
            observe(f"read of {name}", 0.5, None)

    async with asyncio.TaskGroup() as group:
        for name in ("a", "b"):
            group.create_task(serve(name))
    found = spans()
    for name in ("a", "b"):
        child = found[f"storage read of {name}"]
        assert child.parent.span_id == found[name].context.span_id
        assert child.end_time - child.start_time == pytest.approx(0.5e9, rel=1e-3)
        assert child.attributes["registry.storage.driver"] == "s3"


def test_operation_outside_a_request_has_no_span(tracer, spans):
    tracer.storage_observer("s3")("walk", 1.0, None)
    assert spans() == {}


def test_missing_object_is_no_failure_of_the_store(tracer, spans):
    observe = tracer.storage_observer("s3")
    with tracer.request("r", {}, {}):
        observe("read", 0.1, ObjectNotFoundError)
        observe("write", 0.1, StorageUnavailableError)
    found = spans()
    assert found["storage read"].status.status_code is StatusCode.UNSET
    assert found["storage read"].attributes["error.type"] == "ObjectNotFoundError"
    assert found["storage write"].status.status_code is StatusCode.ERROR


def test_exporters_are_made_by_name():
    [exporter] = make_exporters(["console"])
    assert isinstance(exporter, ConsoleSpanExporter)


def test_collector_that_redirects_is_not_followed(monkeypatch):
    asked = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(307)
            self.send_header("Location", f"http://{self.headers['Host']}/elsewhere")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        tracer = OtelTracer(make_exporters(["otlp"]), version="1")
        with tracer.request("GET /v2/", HEADERS, {}):
            pass
        tracer.close()
        server.shutdown()
        thread.join()
    assert asked == ["/v1/traces"]
