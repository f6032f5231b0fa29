"""Settings of the application log and the access log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

CREDENTIAL_LOGGERS: Final = frozenset(
    {"aiobotocore", "aiohttp", "aiomysql", "asyncio", "boto3", "botocore", "redis", "urllib3"}
)
"""Libraries whose debug lines would show credentials and signatures of requests; they stay at `warn`."""


class LogLevel(StrEnum):
    """The least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormatter(StrEnum):
    """The format of the application log."""

    TEXT = "text"
    JSON = "json"
    LOGSTASH = "logstash"


class AccessLogFormat(StrEnum):
    """The format of the access log."""

    COMBINED = "combined"
    JSON = "json"
    LOGSTASH = "logstash"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The application log on stderr and the access log on stdout."""

    level: LogLevel = LogLevel.INFO
    formatter: LogFormatter = LogFormatter.TEXT
    fields: Mapping[str, str] = field(default_factory=dict)
    """Static fields in every line."""
    levels: Mapping[str, LogLevel] = field(default_factory=dict)
    """Levels of individual loggers (and their children), by name."""
    access_log_disabled: bool = False
    access_log_format: AccessLogFormat | None = None
    """None follows `formatter`: combined for text, else the same format."""
    report_caller: bool = False
    """Whether lines contain the code location that logged them."""
