"""Names of a request: its id, and the W3C trace that it belongs to."""

import random
import re
from collections.abc import Callable
from typing import Final

from aiohttp import web

from config.logging import request_id_variable, trace_id_variable
from entrypoints.http.keys import REQUEST_ID, TRACE_ID

REQUEST_ID_HEADER: Final = "X-Request-Id"
_CLIENT_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
"""W3C Trace Context 1, "traceparent Header"; later versions may append fields."""
_FIRST_VERSION: Final = "00"


def new_request_id() -> str:
    """Return a unique UUID (RFC 9562, version 4); it is not a secret and may be predictable."""
    text = f"{random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def name_request(request: web.BaseRequest, new_id: Callable[[], str]) -> str:
    """Assign a request its id and trace id, for the request itself and for all log lines about it.

    Args:
        request: request whose `X-Request-Id` is kept if it is a short word, so that ids of proxies are preserved. A
            header that could forge a log line or fill the log is ignored.
        new_id: creates an id.
    """
    supplied = request.headers.get(REQUEST_ID_HEADER)
    request_id = supplied if supplied and _CLIENT_REQUEST_ID.fullmatch(supplied) else new_id()
    request[REQUEST_ID] = request_id
    request_id_variable.set(request_id)
    # With tracing enabled, the tracing middleware has already set it.
    trace_id = request.get(TRACE_ID) or trace_of(request.headers.get("traceparent", ""))
    trace_id_variable.set(trace_id)
    if trace_id:
        request[TRACE_ID] = trace_id
    return request_id


def name_task() -> str:
    """Assign a new id to the request of the running task, which has neither an id nor a trace; return the id."""
    request_id = new_request_id()
    request_id_variable.set(request_id)
    trace_id_variable.set("")
    return request_id


def trace_of(traceparent: str) -> str:
    """Return the trace id of a `traceparent` header, or an empty string if the header is malformed."""
    found = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if found is None or (found[2] is not None and traceparent.strip().startswith(_FIRST_VERSION)):
        return ""
    return found[1]
