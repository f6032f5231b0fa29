"""Traces are asked for by OpenTelemetry's variables, and by nothing else."""

import pytest

from config.tracing import read_tracing
from tests.support.configuration import MINIMAL, LoadText

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("environ", "exporters"),
    [
        ({}, ()),
        ({"OTEL_SERVICE_NAME": "x"}, ()),
        ({ENDPOINT: "http://collector:4318"}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": " console , OTLP,otlp "}, ("console", "otlp")),
        ({"OTEL_TRACES_EXPORTER": "none", ENDPOINT: "http://collector:4318"}, ()),
        ({"OTEL_SDK_DISABLED": "TRUE", ENDPOINT: "http://collector:4318"}, ()),
        ({"OTEL_SDK_DISABLED": "false", ENDPOINT: "http://collector:4318"}, ("otlp",)),
    ],
)
def test_variables_choose_exporters(environ, exporters):
    settings, warnings = read_tracing(environ)
    assert (settings.exporters, warnings) == (exporters, [])


@pytest.mark.parametrize(
    ("environ", "exporters", "warning"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, (), "`zipkin` is not supported"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("otlp",), "`grpc` is not supported"),
    ],
)
def test_unsupported_tracing_settings_are_logged(environ, exporters, warning):
    settings, [line] = read_tracing(environ)
    assert settings.exporters == exporters
    assert warning in line


def test_loader_reads_tracing_variables(load_text: LoadText) -> None:
    loaded = load_text(MINIMAL, {"OTEL_TRACES_EXPORTER": "otlp,zipkin"})
    assert loaded.tracing.exporters == ("otlp",)
    assert [line for line in loaded.warnings if "zipkin" in line]
