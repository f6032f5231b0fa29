"""Logging set up from settings: the application log on stderr, the access log on stdout.

One event is one line, whatever a client sends: control characters, quotes and line ends leave escaped, so that no
line can be forged. Every line carries the id of its request. Fields come from `extra=`; a `Secret` shows asterisks.
"""

import logging
import sys
from contextvars import ContextVar
from typing import Final, TextIO

from config.log_formats import (
    AccessFormatter,
    EventFormatter,
    JsonFormatter,
    LogstashFormatter,
    TextFormatter,
)
from config.settings import LogFormatter, LogLevel, LogSettings

ACCESS_LOGGER: Final = "registry.access"
"""The logger whose records are requests: their fields are distribution's `http.request.*` and `http.response.*`."""

request_id_variable: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that the running task serves; empty outside of requests."""

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
_TALKATIVE: Final = ("aiobotocore", "aiohttp", "aiomysql", "asyncio", "boto3", "botocore", "urllib3")
"""Libraries whose debug lines would show credentials and signatures of requests."""
_OFF: Final = logging.CRITICAL + 1


def configure_logging(settings: LogSettings, *, stderr: TextIO | None = None, stdout: TextIO | None = None) -> None:
    """Set up both logs, replacing what was set up before; may be called again with new settings.

    Args:
        settings: level, format and static fields.
        stderr: where the application log goes instead.
        stdout: where the access log goes instead.
    """
    formatter = _FORMATTERS[settings.formatter](
        settings.fields, request_id=request_id_variable.get, names_caller=settings.report_caller
    )
    _replace_handlers(logging.getLogger(), stderr or sys.stderr, formatter)
    logging.getLogger().setLevel(_LEVELS[settings.level])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, _LEVELS[settings.level]))
    access = logging.getLogger(ACCESS_LOGGER)
    is_text = settings.formatter is LogFormatter.TEXT
    _replace_handlers(access, stdout or sys.stdout, AccessFormatter() if is_text else formatter)
    access.propagate = False
    access.setLevel(_OFF if settings.access_log_disabled else logging.INFO)


def _replace_handlers(logger: logging.Logger, stream: TextIO, formatter: logging.Formatter) -> None:
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger.addHandler(handler)
