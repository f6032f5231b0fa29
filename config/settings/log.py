"""Settings of the application log and the access log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class LogLevel(StrEnum):
    """The least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormatter(StrEnum):
    """How a line of the application log looks."""

    TEXT = "text"
    JSON = "json"
    LOGSTASH = "logstash"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The application log on stderr and the access log on stdout."""

    level: LogLevel = LogLevel.INFO
    formatter: LogFormatter = LogFormatter.TEXT
    fields: Mapping[str, str] = field(default_factory=dict)
    """Static fields in every line."""
    access_log_disabled: bool = False
    report_caller: bool = False
    """Whether lines name the code that wrote them."""
