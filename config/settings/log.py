"""`log`: the application log and the access log."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from core.model.setting import Group, SettingInvalidError, Unused, setting

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

    level: LogLevel = setting("level", "Lowest level that is logged.", LogLevel.INFO, any_case=True)
    formatter: LogFormatter = setting("formatter", "Format of the application log.", LogFormatter.TEXT)
    fields: Mapping[str, str] = setting("fields", "Static fields in every line.", {})
    levels: Mapping[str, LogLevel] = setting(
        "levels", "Levels of individual loggers, by name, such as `core.registry.catalog: debug`.", {}
    )
    access_log: ClassVar = Group("accesslog", "The access log, one line per request on stdout.")
    access_log_disabled: bool = setting("accesslog.disabled", "Whether the access log is off.", default=False)
    access_log_format: AccessLogFormat | None = setting(
        "accesslog.format",
        "Format of the access log; defaults to `combined` with `log.formatter: text`, else to `log.formatter`.",
        None,
    )
    report_caller: bool = setting(
        "reportcaller", "Whether lines contain the code location that logged them.", default=False
    )
    hooks: ClassVar = Unused("hooks", "E-mails about log lines.")

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject unknown levels, and levels at which a library would log signatures and credentials."""
        levels = values.get("levels", {})
        problems = {name: [problem] for name, text in levels.items() if (problem := _level_problem(name, text))}
        if problems:
            raise SettingInvalidError({"levels": problems})
        return values | {"levels": {name: LogLevel(text.lower()) for name, text in levels.items()}}


def _level_problem(name: str, text: str) -> str | None:
    if text.lower() not in list(LogLevel):
        return f"must be one of {', '.join(LogLevel)}"
    if name.partition(".")[0] in CREDENTIAL_LOGGERS:
        return "cannot be set: this library logs credentials at levels below `warn`"
    return None
