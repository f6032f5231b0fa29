"""Formats of log lines: logfmt-like text, JSON, logstash's JSON, and Apache's combined access log."""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, Final

from typing_extensions import override

_STANDARD_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_LEVEL_NAMES: Final = {"WARNING": "warning", "CRITICAL": "fatal"}
_BARE: Final = re.compile(r"[A-Za-z0-9._/@^+:-]+")
"""Values that need no quotes in the text format."""
REQUEST_ID_FIELD: Final = "http.request.id"
TRACE_ID_FIELD: Final = "trace_id"
"""OpenTelemetry's name of the field in log formats other than its own."""


class EventFormatter(logging.Formatter):
    """Base of all formats of the application log; decides which fields a line has.

    Args:
        static_fields: fields of every line.
        request_fields: returns fields that identify the current request, or none.
        names_caller: whether lines contain the function that logged them.
    """

    reserved: ClassVar[frozenset[str]] = frozenset()
    """Names of the format itself; a field with such a name is written as `fields.<name>`."""

    def __init__(
        self,
        static_fields: Mapping[str, str],
        *,
        request_fields: Callable[[], Mapping[str, str]],
        names_caller: bool = False,
    ) -> None:
        super().__init__()
        self._static_fields = dict(static_fields)
        self._request_fields = request_fields
        self._names_caller = names_caller

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the fields of a line besides time, level and message."""
        fields: dict[str, Any] = {**self._static_fields, **self._request_fields()}
        if self._names_caller:
            fields |= {"func": f"{record.module}.{record.funcName}", "file": f"{record.filename}:{record.lineno}"}
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
        if record.exc_info and record.exc_info[0] is not None:
            fields |= {"error": record.exc_info[0].__name__, "stack": self.formatException(record.exc_info)}
        return {(f"fields.{name}" if name in self.reserved else name): value for name, value in fields.items()}


class TextFormatter(EventFormatter):
    """`time=… level=info msg="…" key=value`."""

    reserved = frozenset({"time", "level", "msg"})

    @override
    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _timestamp(record), "level": _level(record), "msg": record.getMessage()}
        return " ".join(f"{_escape(name)}={_text(value)}" for name, value in {**head, **self.fields(record)}.items())


class JsonFormatter(EventFormatter):
    """One JSON object a line, with `time`, `level` and `msg`."""

    reserved = frozenset({"time", "level", "msg"})

    @override
    def format(self, record: logging.LogRecord) -> str:
        head = {"level": _level(record), "msg": record.getMessage(), "time": _timestamp(record)}
        return _json({**head, **self.fields(record)})


class LogstashFormatter(EventFormatter):
    """One JSON object a line, with logstash's `@timestamp`, `@version` and `message`."""

    reserved = frozenset({"@timestamp", "@version", "level", "message"})

    @override
    def format(self, record: logging.LogRecord) -> str:
        head = {
            "@timestamp": _timestamp(record),
            "@version": "1",
            "level": _level(record),
            "message": record.getMessage(),
        }
        return _json({**head, **self.fields(record)})


class CombinedFormatter(logging.Formatter):
    """Apache's combined format, followed by the id of the request and its duration in seconds."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields = vars(record)
        texts = [str(fields.get(name) or "-") for name in _COMBINED_FIELDS]
        joined = "".join(texts)
        # Nearly all lines need no escapes, and one look at all fields takes less than one at each.
        if '"' in joined or not _is_plain(joined):
            texts = [_escape(text).replace('"', '\\"') for text in texts]
        address, user, method, uri, version, status, referer, agent, request_id = texts
        return (
            f'{address} - {user} [{_apache_time(int(record.created))}] "{method} {uri} {version}" {status} '
            f'{fields.get("http.response.written", 0)} "{referer}" "{agent}" "{request_id}" '
            f"{fields.get('http.response.duration', 0.0):.6f}"
        )


_COMBINED_FIELDS: Final = (
    "http.request.remoteaddr",
    "auth.user.name",
    "http.request.method",
    "http.request.uri",
    "http.version",
    "http.response.status",
    "http.request.referer",
    "http.request.useragent",
    REQUEST_ID_FIELD,
)


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=1)
def _apache_time(seconds: int) -> str:
    # Not `strftime`, whose month names depend on the locale.
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    moment = time.gmtime(seconds)
    clock = time.strftime("%H:%M:%S", moment)
    return f"{moment.tm_mday:02}/{months[moment.tm_mon - 1]}/{moment.tm_year}:{clock} +0000"


def _level(record: logging.LogRecord) -> str:
    return _LEVEL_NAMES.get(record.levelname, record.levelname.lower())


def _text(value: Any) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else '"' + _escape(text).replace('"', '\\"') + '"'


def _escape(text: str) -> str:
    r"""Escape unprintable characters and the backslash, as Python does: `\n`, `\x1b`, `\u2028`."""
    if _is_plain(text):
        return text
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode("ascii") for c in text)


def _is_plain(text: str) -> bool:
    return text.isprintable() and "\\" not in text


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps({name: _encodable(value) for name, value in fields.items()}, default=str)


def _encodable(value: Any) -> Any:
    """Escape header bytes that are not UTF-8: they would become lone surrogates, which are not valid in JSON."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode(errors="backslashreplace").decode()
