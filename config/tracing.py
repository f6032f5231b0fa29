"""Tracing settings, from the variables that OpenTelemetry defines for all programs.

Distribution sends traces by default; this registry only if the variables request them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_KNOWN: Final = ("otlp", "console")
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SUPPORTED_PROTOCOL: Final = "http/protobuf"


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    """The exporters of spans; none while `exporters` is empty."""

    exporters: tuple[str, ...] = ()
    """`otlp`, `console`."""


def read_tracing(environ: Mapping[str, str]) -> tuple[TracingSettings, list[str]]:
    """Return the settings from the variables, and a warning for each unsupported value."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return TracingSettings(), []
    names = [name.strip().lower() for name in environ.get("OTEL_TRACES_EXPORTER", "").split(",") if name.strip()]
    if not names and any(environ.get(name) for name in _ENDPOINTS):
        names = ["otlp"]
    if names == ["none"]:
        return TracingSettings(), []
    warnings = [
        f"OTEL_TRACES_EXPORTER: `{name}` is not supported; use {', '.join(_KNOWN)} or none"
        for name in names
        if name not in _KNOWN
    ]
    exporters = tuple(name for name in dict.fromkeys(names) if name in _KNOWN)
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _SUPPORTED_PROTOCOL)
    if "otlp" in exporters and protocol != _SUPPORTED_PROTOCOL:
        warnings.append(
            f"OTEL_EXPORTER_OTLP_PROTOCOL: `{protocol}` is not supported; spans are sent as {_SUPPORTED_PROTOCOL}"
        )
    return TracingSettings(exporters=exporters), warnings
