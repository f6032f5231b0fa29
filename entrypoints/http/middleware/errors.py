"""Request ids, responses to errors, and headers common to all responses."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from core.errors import StorageCorruptError, UpstreamError
from entrypoints.http.connection.streaming import BodyStalledError, ClientGoneError
from entrypoints.http.errors import envelope, render, respond
from entrypoints.http.keys import BEGUN, REQUEST_ID
from entrypoints.http.request_names import REQUEST_ID_HEADER, name_request, new_request_id
from entrypoints.http.runtime_flags import RuntimeFlags

_logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST: Final = 499
"""Status that nginx and distribution log when the client disconnected; no client receives it."""


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Assign a request its id, and turn every exception into a response."""
    name_request(request, new_request_id)
    try:
        return await handler(request)
    except ClientGoneError as error:
        return _answer_broken_body(request, error)
    except (ConnectionError, StorageCorruptError, UpstreamError) as error:
        return _answer_end(request, error)
    except Exception as error:
        if request.get(BEGUN):
            # The client would take a second response for the rest of the first, so close the connection.
            _logger.exception("request failed during the response")
            return _cut_off(request, HTTPStatus.INTERNAL_SERVER_ERROR)
        return render(request, error)


def _answer_end(
    request: web.Request, error: ConnectionError | StorageCorruptError | UpstreamError
) -> web.StreamResponse:
    if isinstance(error, ConnectionError):
        # The client stopped reading in the middle of a blob.
        _logger.info("client disconnected")
        return _cut_off(request, CLIENT_CLOSED_REQUEST)
    if not request.get(BEGUN):
        return render(request, error)
    if isinstance(error, UpstreamError):
        # Logged once for all requests, by the adapter's decorator.
        _logger.info("response aborted: %s", error)
        return _cut_off(request, HTTPStatus.BAD_GATEWAY)
    _logger.error("response aborted: %s", error)
    return _cut_off(request, HTTPStatus.INTERNAL_SERVER_ERROR)


def _cut_off(request: web.Request, status: int) -> web.Response:
    """Close the connection; the returned response is only logged."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=status)


def _answer_broken_body(request: web.Request, error: ClientGoneError) -> web.Response:
    if request.transport is None or request.transport.is_closing():
        return web.Response(status=CLIENT_CLOSED_REQUEST)
    status = 408 if isinstance(error, BodyStalledError) else 400
    response = respond(status, [envelope("UNSUPPORTED", str(error))])
    response.force_close()
    return response


def common_headers(flags: RuntimeFlags) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return the signal handler that adds the headers common to all responses (`http.headers` included)."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        request[BEGUN] = True
        headers = response.headers
        headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        # aiohttp's value names the versions of Python and aiohttp, which helps only attackers.
        headers.popall("Server", None)
        if (request_id := request.get(REQUEST_ID)) is not None:
            headers[REQUEST_ID_HEADER] = request_id
        for name, values in flags.headers.items():
            for value in values:
                headers.add(name, value)

    return add
