"""Access log: one line per request, written after the response was sent, without secrets."""

import logging
import re
import time
from typing import Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger
from typing_extensions import override

from config.logging import ACCESS_LOGGER
from entrypoints.http.keys import BEGUN, CALLER, CLIENT, ERROR_CODE, REQUEST_ID, TARGET, TRACE_ID
from entrypoints.http.routes import Resource, Target

_logger = logging.getLogger(ACCESS_LOGGER)

QUIET_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Paths of probes, which are requested every few seconds and not logged."""
_SHOWN_PARAMETERS: Final = frozenset(
    {
        "artifactType",
        "before",
        "digest",
        "digest-algorithm",
        "filter",
        "from",
        "last",
        "mount",
        "n",
        "ns",
        "page",
        "platform",
        "q",
        "referrers",
        "scope",
        "service",
        "since",
        "sort",
        "tag",
    }
)
"""Query parameters whose values are logged. For any other parameter only the name is logged, if it is a plain word."""
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_-]{0,31}")
_HIDDEN: Final = "…"
_USERINFO: Final = re.compile(r"//[^/?#]*@")


def scrub_uri(uri: str) -> str:
    """Return the path and query of a request without possible secrets: `_state`, tokens, passwords.

    The function works from a list of parameters to show, so that unknown parameters are hidden.
    """
    path, mark, query = uri.partition("?")
    return path + mark + "&".join(map(_scrub_parameter, query.split("&"))) if query else path


def scrub_referer(referer: str) -> str:
    """Return the URL of a `Referer` header without credentials, query and fragment."""
    return _USERINFO.sub("//", referer.partition("?")[0].partition("#")[0], count=1)


def _scrub_parameter(parameter: str) -> str:
    name, mark, _ = parameter.partition("=")
    if mark and name in _SHOWN_PARAMETERS:
        return parameter
    return f"{name}={_HIDDEN}" if mark and _PLAIN_NAME.fullmatch(name) else _HIDDEN


class _AccessRecord(logging.LogRecord):
    """Record of one request, with its fields as attributes.

    The constructor of `LogRecord` and the search for the caller take a third of the time of a line. Thread and process
    are None, as with `logging.logThreads` and `logging.logProcesses` off.
    """

    def __init__(self, fields: dict[str, object]) -> None:
        attributes = vars(self)
        attributes.update(_COMMON_ATTRIBUTES)
        attributes.update(fields)
        now = time.time()
        self.relativeCreated += (now - self.created) * 1000
        self.created = now
        self.msecs = self.created % 1 * 1000
        self.args = (fields["http.request.method"], fields["http.request.uri"], fields["http.response.status"])


_COMMON_ATTRIBUTES: Final[dict[str, object]] = {
    **vars(logging.LogRecord(ACCESS_LOGGER, logging.INFO, __file__, 0, "%s %s %s", (), None, "log")),
    **dict.fromkeys(("thread", "threadName", "process", "processName")),
}


class AccessLogger(AbstractAccessLogger):
    """Access logger whose fields are those of distribution's log."""

    @override
    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        if _logger.isEnabledFor(logging.INFO) and request.path not in QUIET_PATHS:
            log_fields({**fields_of(request, response), "http.response.duration": time})

    @property
    @override
    def enabled(self) -> bool:
        # aiohttp asks only once per connection, but the access log can be enabled during a connection.
        return True


def log_fields(fields: dict[str, object]) -> None:
    """Write a line with these fields, if the log is on."""
    if _logger.isEnabledFor(logging.INFO):
        _logger.handle(_AccessRecord(fields))


def fields_of(request: web.BaseRequest, response: web.StreamResponse) -> dict[str, object]:
    """Return the fields of a request that was answered, except for its duration."""
    fields = _request_fields(request)
    _add_target(fields, request)
    _add_response(fields, request, response)
    return fields


def _request_fields(request: web.BaseRequest) -> dict[str, object]:
    client, caller, headers = request.get(CLIENT), request.get(CALLER), request.headers
    major, minor = request.version
    fields: dict[str, object] = {
        "http.request.id": request.get(REQUEST_ID, ""),
        "http.request.method": request.method,
        "http.request.host": headers.get(hdrs.HOST, ""),
        "http.request.uri": scrub_uri(request.path_qs),
        "http.request.remoteaddr": client.address if client else request.remote or "",
        "http.request.useragent": headers.get(hdrs.USER_AGENT, ""),
        "http.request.referer": scrub_referer(referer) if (referer := headers.get(hdrs.REFERER)) else "",
        "http.request.contenttype": headers.get(hdrs.CONTENT_TYPE, ""),
        "http.version": f"HTTP/{major}.{minor}",
        "auth.user.name": caller.principal.name if caller is not None else "",
    }
    if TRACE_ID in request:
        fields["trace_id"] = request[TRACE_ID]
    return fields


def _add_target(fields: dict[str, object], request: web.BaseRequest) -> None:
    target: Target | None = request.get(TARGET)
    if target is None:
        return
    if target.name:
        fields["vars.name"] = target.name
    if target.reference:
        fields[_REFERENCES.get(target.resource, "vars.reference")] = target.reference


_REFERENCES: Final = {Resource.BLOB: "vars.digest", Resource.REFERRERS: "vars.digest", Resource.UPLOAD: "vars.uuid"}


def _add_response(fields: dict[str, object], request: web.BaseRequest, response: web.StreamResponse) -> None:
    fields["http.response.status"] = response.status
    # For a response that was cut off, only the byte count of its connection is known.
    fields["http.response.written"] = response.body_length or (request.writer.output_size if request.get(BEGUN) else 0)
    fields["http.response.contenttype"] = response.headers.get(hdrs.CONTENT_TYPE, "")
    if ERROR_CODE in request:
        fields["err.code"] = request[ERROR_CODE]
