"""`log`: the application log and the access log."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from adapters.addresses import address_problem
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, Group, SettingInvalidError, section, setting

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


class HookType(StrEnum):
    """The ways to report log records."""

    MAIL = "mail"


class MailLevel(StrEnum):
    """The levels of records that are mailed, in distribution's words."""

    PANIC = "panic"
    FATAL = "fatal"
    ERROR = "error"
    WARN = "warn"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


_MAIL_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~@-]{1,254}")


def _server_problem(text: str) -> str | None:
    if address_problem(text) is None and not text.startswith(":"):
        return None
    return "must be `host:port` of a mail server, such as mail.example.com:25"


def _mail_address_problem(text: str) -> str | None:
    return None if _MAIL_ADDRESS.fullmatch(text) else "must be a mail address such as registry@example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """The mail server, the sender and the recipients of mails."""

    smtp: ClassVar = Group("smtp", "The mail server.")
    addr: str = setting(
        "smtp.addr", "`host:port` of the mail server; TLS from the start at port 465.", "", check=_server_problem
    )
    username: str | None = setting("smtp.username", "User at the mail server; without it there is no login.", None)
    password: Secret | None = setting("smtp.password", "Password of the user.", None)
    insecure: bool = setting(
        "smtp.insecure",
        "Whether to accept any certificate, and to send the password without TLS to a server that has none.",
        default=False,
    )
    sender: str = setting("from", "Sender of the mails.", "", check=_mail_address_problem)
    to: tuple[str, ...] = setting("to", "Recipients of the mails.", (), check=_mail_address_problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSettings:
    """One way to report log records; only servers use it, no commands."""

    kind: HookType = setting("type", "Kind of the report.", HookType.MAIL, required=MISSING_VALUE)
    disabled: bool = setting("disabled", "Whether the hook is off.", default=False)
    levels: tuple[MailLevel, ...] = setting(
        "levels", "Levels of the reported records; `panic` means defects: errors with a traceback.", ()
    )
    options: MailSettings = section("options", "The mails.", MailSettings, go=("MAILOPTIONS",))

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a hook without levels or without a recipient."""
        if values.get("disabled"):
            return values
        mail = values.get("options", MailSettings())
        problems: dict[str, Any] = {} if values.get("levels") else {"levels": [MISSING_VALUE]}
        missing: dict[str, Any] = {
            key: [MISSING_VALUE] for key, value in (("from", mail.sender), ("to", mail.to)) if not value
        }
        if not mail.addr:
            missing["smtp"] = {"addr": [MISSING_VALUE]}
        if missing:
            problems["options"] = missing
        if problems:
            raise SettingInvalidError(problems)
        return values


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
    hooks: tuple[HookSettings, ...] = setting("hooks", "Mails about log records.", ())

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
