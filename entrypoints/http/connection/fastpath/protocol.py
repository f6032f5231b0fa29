"""HTTP/1.1 connection based on aiohttp's, with resource limits per client and OCI's envelope for every refusal.

aiohttp itself answers requests that cannot be parsed, since they never reach the application. Those responses are
rendered here.
"""

import asyncio
import heapq
import logging
from operator import itemgetter
from typing import Any, Final

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from typing_extensions import override

from config.settings import LimitSettings
from entrypoints.http.connection.accepting import BUSY
from entrypoints.http.connection.fastpath.framing import (
    END_OF_HEAD,
    HEAD_BYTES_MAX,
    UNFINISHED_BYTES_MAX,
    Refusal,
    examine,
    head_too_large,
    part_of_head_bytes,
    queue_bytes,
)
from entrypoints.http.connection.fastpath.lending import LendingProtocol
from entrypoints.http.connection.fastpath.recall import Recollection
from entrypoints.http.connection.fastpath.routing_bypass import bypass_routing
from entrypoints.http.connection.repeating import REPEATER
from entrypoints.http.errors import envelope, render, respond
from entrypoints.http.request_names import REQUEST_ID_HEADER, name_request, new_request_id
from entrypoints.http.runtime_flags import DEFAULT_HEADERS

_logger = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 1.0
"""Minimum waiting time of an idle connection; on a newer one, a request may be on its way."""
_TLS_HANDSHAKE: Final = b"\x16\x03"
"""Type and major version of the first record (RFC 8446, 5.1)."""
_TOO_MANY_HEADERS: Final = "Too many headers received"


class GuardedProtocol(LendingProtocol):
    """One connection."""

    __slots__ = (
        "_guard",
        "_head_timer",
        "_is_chunked",
        "_is_final",
        "_is_half_closed",
        "_queued_bytes",
    )

    def __init__(self, server: "GuardedServer", **options: Any) -> None:
        super().__init__(server, recollection=server.recollection, **options)
        self._guard = server
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_chunked = False
        """Whether that body is chunked."""
        self._queued_bytes = 0
        """Bytes of heads that wait behind another request."""
        self._is_half_closed = False
        """Whether the client has finished sending and still waits for responses."""
        self._is_final = False
        """Whether the newest request is the last one; the rest of its body is still read."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._guard.is_over_full and isinstance(transport, asyncio.Transport):
            transport.write(BUSY)
            self.force_close()
        else:
            self._start_timer()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._hold(partial=0, queued=0)
        super().connection_lost(exc)

    @property
    def idle_since(self) -> float | None:
        """Time at which the connection began to wait for a request, by the loop's clock; None during a request."""
        if self._waiter is None or self._waiter.done():
            return None
        return self._next_keepalive_close_time - self._keepalive_timeout

    @override
    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's signature
        """Keep the connection open for the responses to complete requests (TCP half-close).

        TLS has no half-closed state, so asyncio closes the connection.
        """
        super().eof_received()
        transport = self.transport
        is_idle = self._waiter is not None and not self._messages
        if is_idle or not self._request_count or not self._body.is_eof():
            return None
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return None
        self._is_half_closed = True
        return True

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_spoiled or (self._is_final and self._body.is_eof()):
            return
        if self.recall(data):
            self._stop_timer()
        elif not self._request_count and data.startswith(_TLS_HANDSHAKE) and not self._partial_bytes:
            self._refuse_connection(Refusal(400, "the client started TLS on a port for plain HTTP"))
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        requests_before = self._request_count
        was_body, fed_before = not self._body.is_eof(), self._body.total_bytes
        super().data_received(data)
        count = self._request_count - requests_before
        if count:
            self._stop_timer()
            self._receive_requests(data, count)
            fed_before = 0
        if self._upgraded:
            self._decline_upgrade()
        if count or was_body:
            partial = 0
            if self._body.is_eof():
                body_bytes = None if self._is_chunked else self._body.total_bytes - fed_before
                partial = part_of_head_bytes(data, body_bytes, has_head=bool(count))
            self._hold(partial=partial, queued=queue_bytes(self._messages))
        elif data:
            self._receive_part_of_head(len(data))
        self.answer()

    def _receive_requests(self, data: bytes, count: int) -> None:
        message, self._body = self._messages[-1]
        self._is_chunked = isinstance(message, RawRequestMessage) and message.chunked
        if isinstance(message, RawRequestMessage) and message.upgrade:
            # The parser drops bytes that follow such a request in the same piece of data.
            has_no_more = self._body.is_eof() and data.endswith(END_OF_HEAD) and data.count(END_OF_HEAD) == count
            self._is_final = not has_no_more
        self._refuse_messages(measure=self._partial_bytes + len(data) > HEAD_BYTES_MAX)

    def _receive_part_of_head(self, size: int) -> None:
        if self._head_timer is None and self._waiter is not None and not self._waiter.done():
            # No request is under way, so this is the start of a head.
            self._start_timer()
        self._hold(partial=self._partial_bytes + size, queued=self._queued_bytes)

    def _hold(self, *, partial: int, queued: int) -> None:
        """Update the byte counts of pending heads, for this connection and for all connections together."""
        if partial == self._partial_bytes and queued == self._queued_bytes:
            return
        self._guard.held_bytes += partial - self._partial_bytes + queued - self._queued_bytes
        self._partial_bytes, self._queued_bytes = partial, queued
        if self._is_spoiled:
            return
        if partial > HEAD_BYTES_MAX:
            self._refuse_connection(head_too_large())
        elif self._guard.held_bytes > UNFINISHED_BYTES_MAX:
            self._refuse_connection(Refusal(503, "too many unfinished requests"))

    def _refuse_connection(self, refusal: Refusal) -> None:
        """Queue the refusal as the last response, and stop reading."""
        self._stop_timer()
        self._is_spoiled = True
        if self._messages and not self._messages[-1][1].is_eof():
            # The rest of its body is no longer read.
            self._messages.pop()
        self._messages.append((_ErrInfo(refusal.status, refusal, refusal.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _decline_upgrade(self) -> None:
        """Continue with HTTP/1.1, as a server without support for `Upgrade` may (RFC 9110, 7.8)."""
        self._upgraded = False
        self._message_tail = b""
        if self._parser is not None:
            self._parser.set_upgraded(False)

    def _refuse_messages(self, *, measure: bool) -> None:
        for index, (message, _) in enumerate(self._messages):
            if isinstance(message, _ErrInfo):
                self._is_spoiled = True
            elif (refusal := examine(message, measure=measure)) is not None:
                self._messages[index] = (_ErrInfo(refusal.status, refusal, refusal.message), EMPTY_PAYLOAD)
                self._is_spoiled = True

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that did not reach the application, and close the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response has already begun")
        # The request did not pass the middleware that assigns the id.
        request_id = name_request(request, new_request_id)
        if isinstance(exc, BadHttpMessage):
            status, text = self._judge(exc)
            # Do not use aiohttp's message, which quotes the header: it may be the one with the password.
            # The class of aiohttp's error adds to the text; the text of a `Refusal` is complete.
            detail = "" if isinstance(exc, Refusal) else f" ({type(exc).__name__})"
            _logger.info("rejected a request from %s: %s%s", request.remote, text, detail)
            response = respond(status, [envelope("UNSUPPORTED", text)])
        else:
            _logger.error("request failed outside the application", exc_info=exc)
            response = respond(500, [envelope("UNKNOWN", "unknown error")])
        response.force_close()
        # The version of an unparsable request is unknown, so aiohttp omits this header.
        response.headers["Connection"] = "close"
        response.headers.update(DEFAULT_HEADERS)
        response.headers[REQUEST_ID_HEADER] = request_id
        return response

    @override
    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; render errors that aiohttp raised outside of the middlewares (417) first."""
        if isinstance(resp, web.HTTPException):
            resp = render(request, resp)
            resp.headers[REQUEST_ID_HEADER] = name_request(request, new_request_id)
        if self._is_last:
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        if self._is_last:
            resp.force_close()
        if self._queued_bytes:
            self._hold(partial=self._partial_bytes, queued=queue_bytes(self._messages))
        return finished

    @property
    @override
    def is_ending(self) -> bool:
        return self._is_spoiled or self._is_final or self._is_half_closed or super().is_ending

    @property
    def _is_last(self) -> bool:  # no request follows the current one
        return (self._is_spoiled or self._is_final or self._is_half_closed) and not self._messages

    def _judge(self, error: BadHttpMessage) -> tuple[int, str]:
        if isinstance(error, Refusal):
            return error.status, error.message
        if isinstance(error, LineTooLong):
            # aiohttp reports only the limit that was exceeded; the two limits always differ (see `PlainRunner`).
            if error.args[1] == self.max_line_size:
                return 414, "URL too long"
            return 431, "header field too large"
        if error.message == _TOO_MANY_HEADERS:
            return 431, "too many header fields"
        return 400, "malformed request"

    def _start_timer(self) -> None:
        if self._guard.limits.header_seconds:
            self._head_timer = self._loop.call_later(self._guard.limits.header_seconds, self._close_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_late(self) -> None:
        _logger.info("connection closed: no complete request within the time limit")
        self.force_close()


class GuardedServer(web.Server):
    """Creates the protocol of each connection and counts the connections."""

    def __init__(self, base: web.Server, app: web.Application, limits: LimitSettings, **options: Any) -> None:
        super().__init__(bypass_routing(app), request_factory=base.request_factory, **options)
        self.limits = limits
        self.recollection = Recollection(app.get(REPEATER))
        self.held_bytes = 0
        """Bytes of heads that are unfinished or wait behind another request, over all connections."""

    @property
    def is_over_full(self) -> bool:
        """Whether there are more connections than allowed, including the newest."""
        return 0 < self.limits.connections < len(self._connections)

    def close_idle(self) -> int:
        """Close up to an eighth of the connections, those that have been idle longest; return the number closed."""
        before = self._loop.time() - _IDLE_SECONDS
        idle = [
            (since, connection)
            for connection in self.connections
            if isinstance(connection, GuardedProtocol)
            and (since := connection.idle_since) is not None
            and since <= before
        ]
        longest = heapq.nsmallest(max(1, len(self._connections) // 8), idle, key=itemgetter(0))
        for _, connection in longest:
            connection.force_close()
        return len(longest)

    @override
    def __call__(self) -> RequestHandler:
        return GuardedProtocol(self, loop=self._loop, **self._kwargs)
