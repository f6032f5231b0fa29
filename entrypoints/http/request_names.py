"""What a request is called: its id, and the W3C trace that it is a part of."""

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
"""W3C Trace Context 1, "traceparent Header"; a later version may append fields."""
_FIRST_VERSION: Final = "00"


def new_request_id() -> str:
    """Return a UUID (RFC 9562, version 4) that nobody else has; it is no secret, so it need not be hard to guess."""
    text = f"{random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def name_request(request: web.BaseRequest, new_id: Callable[[], str]) -> str:
    """Give a request its id and its trace, in the request and in every line that is logged on its behalf.

    Args:
        request: whose `X-Request-Id` is kept if it is a short word, so that ids of proxies go through; a header that
            could forge a line or fill the log is not.
        new_id: makes an id.
    """
    supplied = request.headers.get(REQUEST_ID_HEADER)
    request_id = supplied if supplied and _CLIENT_REQUEST_ID.fullmatch(supplied) else new_id()
    request[REQUEST_ID] = request_id
    request_id_variable.set(request_id)
    # Where requests are traced it is known already.
    trace_id = request.get(TRACE_ID) or trace_of(request.headers.get("traceparent", ""))
    trace_id_variable.set(trace_id)
    if trace_id:
        request[TRACE_ID] = trace_id
    return request_id


def trace_of(traceparent: str) -> str:
    """Return the trace's id of a `traceparent` header, or nothing if it is malformed."""
    found = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if found is None or (found[2] is not None and traceparent.strip().startswith(_FIRST_VERSION)):
        return ""
    return found[1]
