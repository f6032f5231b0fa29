"""Traces of a real server, as a collector receives them."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import make_image
from tests.support.otlp_receiver import OtlpReceiver, attributes_of
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@contextmanager
def traced(tmp_path: Path, environment: Mapping[str, str], workers: int = 1) -> Iterator[RegistryServer]:
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "100", **environment}
    config: dict[str, Any] = {"http": {"workers": workers}}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config, environment=environment) as server:
        yield server


def test_request_is_part_of_its_clients_trace_and_holds_storage_operations(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=k",
            "OTEL_SERVICE_NAME": "images",
        }
        with traced(tmp_path, environment, workers=2) as server:
            RegistryClient(server.host).push("team/app", "v1", make_image(950))
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            RegistryClient(server.host).request("GET", "/v2/team/app/manifests/v1", headers=headers).expect(200)
            RegistryClient(server.host).request("GET", "/healthz").expect(200)
            RegistryClient(server.host).request("GET", "/v2/team/app/blobs/uploads/x?_state=topsecret").expect(404)
            spans = receiver.wait_for(lambda spans: any("uploads/{id}" in s.name and "GET" in s.name for s in spans))
        [ours] = [span for span in spans if span.trace_id.hex() == TRACE and span.parent_span_id.hex() == PARENT]
        assert ours.name == "GET /v2/{name}/manifests/{reference}"
        assert (
            attributes_of(ours).items()
            >= {
                "http.response.status_code": "200",
                "http.route": "/v2/{name}/manifests/{reference}",
                "url.path": "/v2/team/app/manifests/v1",
                "registry.repository": "team/app",
            }.items()
        )
        children = [span for span in spans if span.parent_span_id == ours.span_id]
        assert {span.name for span in children} >= {"storage read"}
        for child in children:
            assert child.trace_id == ours.trace_id
            assert ours.start_time_unix_nano <= child.start_time_unix_nano + 1_000_000
            assert child.end_time_unix_nano <= ours.end_time_unix_nano + 1_000_000
        told = str(spans) + str(receiver.resources)
        assert "topsecret" not in told
        assert "healthz" not in told
        assert receiver.resources[0].items() >= {"service.name": "images"}.items()
        assert receiver.headers[0]["x-key"] == "k"


def test_waiting_spans_are_sent_at_shutdown(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        with traced(tmp_path, environment, workers=2) as server:
            for _ in range(10):
                RegistryClient(server.host).request("GET", "/v2/_catalog").expect(200)
            assert server.stop() == 0
        assert len([span for span in receiver.spans if span.name == "GET /v2/_catalog"]) == 10


@pytest.mark.parametrize(
    "environment", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}], ids=["disabled", "none"]
)
def test_nothing_is_sent_if_tracing_is_disabled(tmp_path: Path, environment: dict[str, str]) -> None:
    with OtlpReceiver() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, **environment}
        with traced(tmp_path, environment) as server:
            RegistryClient(server.host).request("GET", "/v2/").expect(200)
            assert server.stop() == 0
        assert receiver.headers == []


def test_unreachable_collector_blocks_no_request(tmp_path: Path) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with traced(tmp_path, environment) as server:
        RegistryClient(server.host).push("team/app", "v1", make_image(951))
        assert server.stop() == 0


WITHOUT_PACKAGES = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from entrypoints.cli import main
sys.exit(main(["serve", sys.argv[1]]))
"""


def test_missing_packages_are_logged_and_block_no_request(tmp_path: Path) -> None:
    environment = {"OTEL_TRACES_EXPORTER": "otlp"}
    command = (sys.executable, "-c", WITHOUT_PACKAGES)
    config: dict[str, Any] = {"http": {"workers": 1}}
    with RegistryServer(
        tmp_path / "server", tmp_path / "storage", command=command, config=config, environment=environment
    ) as server:
        RegistryClient(server.host).request("GET", "/v2/").expect(200)
        [line] = [line for line in server.log().splitlines() if "OTEL" in line]
        assert "level=warning" in line
        assert "pip install 'sohu-registry[otel]'" in line
