"""Logging according to the settings: the application log on stderr, the access log on stdout.

One event is one line for any input of a client: control characters, quotes and line breaks are escaped, so that no line
can be forged. Every line contains the id of its request. Fields come from `extra=`; a `Secret` is shown as asterisks.
"""

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final, TextIO

from config.log_formats import (
    REQUEST_ID_FIELD,
    TRACE_ID_FIELD,
    CombinedFormatter,
    EventFormatter,
    JsonFormatter,
    LogstashFormatter,
    TextFormatter,
)
from config.log_handler import DroppingHandler, ReplaceableHandler
from config.settings import AccessLogFormat, LogFormatter, LogLevel, LogSettings
from config.settings.log import CREDENTIAL_LOGGERS
from config.streams import UnblockedStream

ACCESS_LOGGER: Final = "registry.access"
"""The logger of requests; fields of its records are distribution's `http.request.*` and `http.response.*`."""

request_id_variable: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that the running task serves; empty outside of requests."""
trace_id_variable: ContextVar[str] = ContextVar("trace_id", default="")
"""The W3C trace id of the request, if its sender supplied one."""

_LEVELS: Final = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}
_FORMATTERS: Final[dict[LogFormatter, type[EventFormatter]]] = {
    LogFormatter.TEXT: TextFormatter,
    LogFormatter.JSON: JsonFormatter,
    LogFormatter.LOGSTASH: LogstashFormatter,
}
_ACCESS_FORMATS: Final = {
    AccessLogFormat.JSON: LogFormatter.JSON,
    AccessLogFormat.LOGSTASH: LogFormatter.LOGSTASH,
}
_OFF: Final = logging.CRITICAL + 1
_single_levels: Final[set[str]] = set()
"""Loggers with a level set by `configure_logging`; global, as the loggers are."""


def configure_logging(
    settings: LogSettings, *, waits: bool = True, stderr: TextIO | None = None, stdout: TextIO | None = None
) -> None:
    """Set up both logs, replacing an earlier setup; may be called again with new settings.

    Args:
        settings: levels, formats and static fields.
        waits: whether a line waits for the reader of a pipe; commands do, servers do not.
        stderr: a stream for the application log instead of stderr.
        stdout: a stream for the access log instead of stdout.
    """
    if waits or stderr or stdout:
        handler: logging.Handler = logging.StreamHandler(stderr or sys.stderr)
        access_handler: logging.Handler = logging.StreamHandler(stdout or sys.stdout)
    else:
        handler = DroppingHandler(UnblockedStream(2), "application log")
        access_handler = DroppingHandler(UnblockedStream(1), "access log")
    _replace_handlers(logging.getLogger(), handler, _formatter(settings, settings.formatter))
    if not waits:
        _add_hooks(settings)
    _set_levels(settings)
    access = logging.getLogger(ACCESS_LOGGER)
    _replace_handlers(access, access_handler, _access_formatter(settings))
    access.propagate = False
    access.setLevel(_OFF if settings.access_log_disabled else logging.INFO)


def flush_logs() -> None:
    """Write the waiting lines, as far as a slow reader has made room; to be called about once a second."""
    for logger in (logging.getLogger(), logging.getLogger(ACCESS_LOGGER)):
        for handler in logger.handlers:
            handler.flush()


def request_fields() -> Mapping[str, str]:
    """Return the fields that identify the request of the running task, for each of its lines."""
    named = {REQUEST_ID_FIELD: request_id_variable.get(), TRACE_ID_FIELD: trace_id_variable.get()}
    return {name: value for name, value in named.items() if value}


def _formatter(settings: LogSettings, kind: LogFormatter) -> EventFormatter:
    return _FORMATTERS[kind](settings.fields, request_fields=request_fields, names_caller=settings.report_caller)


def _access_formatter(settings: LogSettings) -> logging.Formatter:
    wanted = settings.access_log_format
    if wanted is AccessLogFormat.COMBINED or (wanted is None and settings.formatter is LogFormatter.TEXT):
        return CombinedFormatter()
    return _formatter(settings, _ACCESS_FORMATS[wanted] if wanted else settings.formatter)


def _add_hooks(settings: LogSettings) -> None:
    for each in settings.hooks:
        if not each.disabled:
            # Imported only when needed: few registries send mails.
            from config.log_mail import MailHandler  # noqa: PLC0415

            handler = MailHandler(each)
            handler.setFormatter(_formatter(settings, LogFormatter.TEXT))
            logging.getLogger().addHandler(handler)


def _set_levels(settings: LogSettings) -> None:
    for name in _single_levels - settings.levels.keys():
        logging.getLogger(name).setLevel(logging.NOTSET)
    _single_levels.clear()
    logging.getLogger().setLevel(_LEVELS[settings.level])
    for name, level in settings.levels.items():
        logging.getLogger(name).setLevel(_LEVELS[level])
        _single_levels.add(name)
    for name in CREDENTIAL_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, _LEVELS[settings.level]))


def _replace_handlers(logger: logging.Logger, handler: logging.Handler, formatter: logging.Formatter) -> None:
    for former in list(logger.handlers):
        logger.removeHandler(former)
        if isinstance(former, ReplaceableHandler):
            former.retire()
    handler.setFormatter(formatter)
    logger.addHandler(handler)
