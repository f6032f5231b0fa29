"""What surrounds every request: its id, its errors, its common headers, its line in the access log."""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.typedefs import Handler, Middleware
from typing_extensions import override

from config.logging import request_id_variable
from entrypoints.http.errors import envelope, render, respond
from entrypoints.http.keys import BEGUN, CALLER, CLIENT, REQUEST_ID, UNLOGGED
from entrypoints.http.streaming import BodyStalledError, ClientGoneError
from entrypoints.http.switches import Switches

_logger = logging.getLogger(__name__)
_access_logger = logging.getLogger("registry.access")

_CLIENT_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_STATE: Final = re.compile(r"(_state=)[^&\s]*")
_CLIENT_CLOSED_REQUEST: Final = 499
"""What nginx and distribution log when the client went away; nobody receives it."""


def error_middleware(new_id: Callable[[], str]) -> Middleware:
    """Return the middleware that names requests and turns every exception into an answer."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        supplied = request.headers.get("X-Request-Id", "")
        request_id = supplied if _CLIENT_REQUEST_ID.fullmatch(supplied) else new_id()
        request[REQUEST_ID] = request_id
        request_id_variable.set(request_id)
        try:
            return await handler(request)
        except ClientGoneError as error:
            return _answer_broken_body(request, error)
        except ConnectionError:
            # The client stopped reading in the middle of a blob.
            _logger.info("client went away")
            raise
        except Exception as error:
            if request.get(BEGUN):
                # A second answer would be taken for the rest of the first: only closing tells the truth.
                _logger.exception("failed in the middle of a response")
                if request.transport is not None:
                    request.transport.abort()
                raise
            return render(request, error)

    return answer


def _answer_broken_body(request: web.Request, error: ClientGoneError) -> web.Response:
    if request.transport is None or request.transport.is_closing():
        return web.Response(status=_CLIENT_CLOSED_REQUEST)
    status = 408 if isinstance(error, BodyStalledError) else 400
    response = respond(status, [envelope("UNSUPPORTED", str(error))])
    response.force_close()
    return response


def common_headers(switches: Switches) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return the signal handler that adds what every response carries (`http.headers` included)."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        request[BEGUN] = True
        headers = response.headers
        headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        if (request_id := request.get(REQUEST_ID)) is not None:
            headers["X-Request-Id"] = request_id
        for name, values in switches.headers.items():
            for value in values:
                headers.add(name, value)

    return add


class AccessLogger(AbstractAccessLogger):
    """One line per request, when its answer is out; never the signed state of an upload."""

    @override
    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        if request.get(UNLOGGED) or not _access_logger.isEnabledFor(logging.INFO):
            return
        client, caller = request.get(CLIENT), request.get(CALLER)
        _access_logger.info(
            "%s %s %s",
            request.method,
            _STATE.sub(r"\1…", request.path_qs),
            response.status,
            extra={
                "http.request.id": request.get(REQUEST_ID, ""),
                "http.request.method": request.method,
                "http.request.uri": _STATE.sub(r"\1…", request.path_qs),
                "http.request.remoteaddr": client.address if client else request.remote or "",
                "http.request.useragent": request.headers.get("User-Agent", ""),
                "http.request.referer": request.headers.get("Referer", ""),
                "http.version": f"HTTP/{request.version.major}.{request.version.minor}",
                "auth.user.name": caller.principal.name if caller is not None else "",
                "http.response.status": response.status,
                "http.response.written": response.body_length,
                "http.response.duration": time,
            },
        )

    @property
    @override
    def enabled(self) -> bool:
        # Asked once per connection, while the log may be switched on in the middle of one.
        return True
