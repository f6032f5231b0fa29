"""Repeated requests, which are answered without being parsed.

A server remembers the heads of some requests that it has parsed and answered. A head that is the same, byte for byte,
and arrives alone on a connection whose parser is between two requests, would be parsed to the same request. A manifest
by tag then takes a third of the processor time that this program would need.
"""

from typing import Any, Final

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler
from typing_extensions import override

from entrypoints.http.connection.fastpath.framing import END_OF_HEAD
from entrypoints.http.connection.fastpath.prompt import Call, Exchange, PromptProtocol, Response
from entrypoints.http.connection.repeating import Answer, Repeater

HEAD_BYTES_MAX: Final = 1024
"""Maximum size of a remembered head."""
HEADS_MAX: Final = 1024
"""Maximum number of remembered heads."""
_NEW_MAX: Final = 8192
"""Maximum number of heads that are known to have been seen once."""


class _Kept:
    """A response after which the connection stays open."""

    keep_alive = True


_KEPT: Final = _Kept()


class Recollection:
    """The heads of one server; a head is remembered when it is seen for the second time.

    Args:
        repeater: answers the requests; None remembers nothing.
    """

    def __init__(self, repeater: Repeater | None) -> None:
        self._repeater = repeater
        self._known: dict[bytes, Any] = {}
        self._new: set[int] = set()
        """Hashes of heads. Another head with the same hash is only remembered sooner."""

    def __len__(self) -> int:
        return len(self._known)

    def find(self, head: bytes) -> "tuple[Repeater, Any] | None":
        """Return the repeater, and what it has learned from an earlier request with this head."""
        learned = self._known.get(head)
        return None if learned is None or self._repeater is None else (self._repeater, learned)

    def keep(self, head: bytes, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Remember the head of a request that was answered, unless it is new."""
        if self._repeater is None:
            return
        if hash(head) not in self._new:
            if len(self._new) >= _NEW_MAX:
                self._new.clear()
            self._new.add(hash(head))
        elif (learned := self._repeater.learn(request, response)) is not None:
            if len(self._known) >= HEADS_MAX:
                del self._known[next(iter(self._known))]
            self._known[head] = learned

    def forget(self, head: bytes) -> None:
        """Forget a head, until a request with it is answered again."""
        self._known.pop(head, None)


class RecallingProtocol(PromptProtocol):
    """One connection, which answers requests that it recognizes."""

    __slots__ = ("_head", "_is_between", "_is_parsed", "_recollection")

    def __init__(self, *arguments: Any, recollection: Recollection, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._recollection = recollection
        self._is_between = True
        """Whether the parser is certainly between two requests."""
        self._head: bytes | None = None
        """The head of the request that begins next, if it arrived alone."""
        self._is_parsed = False
        """Whether the parser has read the head of the recognized request under way, which is the first message then."""

    @property
    def is_ending(self) -> bool:
        """Whether the connection ends after the requests that have arrived."""
        return self._close or self._force_close

    @override
    def data_received(self, data: bytes) -> None:
        was_between, before = self._is_between, self._request_count
        super().data_received(data)
        self._is_between = self._request_count == before + 1 and self._is_one_head(data)
        is_next = self._is_between and was_between and len(data) <= HEAD_BYTES_MAX and self.may_begin(messages=1)
        self._head = data if is_next else None

    def _is_one_head(self, data: bytes) -> bool:
        if not data.endswith(END_OF_HEAD) or data.count(END_OF_HEAD) != 1 or len(self._messages) != 1:
            return False
        message, payload = self._messages[0]
        return payload is EMPTY_PAYLOAD and isinstance(message, RawRequestMessage)

    def recall(self, data: bytes) -> bool:
        """Answer a request if it is recognized; return whether it is. Otherwise `data_received` is to be called."""
        if not self._is_between or len(data) > HEAD_BYTES_MAX or not self.may_begin(messages=0) or self.is_ending:
            return False
        found = self._recollection.find(data)
        if found is None:
            return False
        self._is_parsed = False
        exchange = Exchange(Call(self._repeat(*found, data)))
        self.begin(exchange)
        if not exchange.call.is_complete:
            # The request takes its place before all that arrives until it is answered.
            self._parse(data)
        return True

    @override
    def next_exchange(self) -> Exchange:
        exchange = super().next_exchange()
        exchange.head, self._head = self._head, None
        return exchange

    @override
    def settled(self, exchange: Exchange, response: Response) -> None:
        if exchange.head is not None and exchange.request is not None and isinstance(response, web.StreamResponse):
            self._recollection.keep(exchange.head, exchange.request, response)

    def _parse(self, head: bytes) -> None:
        if not self._is_parsed:
            self._is_parsed = True
            RequestHandler.data_received(self, head)

    async def _repeat(self, repeater: Repeater, learned: Any, head: bytes) -> tuple[Response, bool]:
        begun = self._loop.time()
        self._request_in_progress = True
        repeater.in_flight.begin()
        try:
            answer = await repeater.answer(learned, self._remote)
            if answer is None or self.is_ending:
                self._recollection.forget(head)
                return await self._take_all_steps(head)
            self._count_request()
            answer.measure(self._loop.time() - begun)
            is_gone = await self._send(answer)
            answer.log(self._loop.time() - begun)
            return _KEPT, is_gone
        finally:
            repeater.in_flight.end()
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)

    async def _take_all_steps(self, head: bytes) -> tuple[Response, bool]:
        self._parse(head)
        exchange = super().next_exchange()
        try:
            exchange.call.begin()
            return await exchange.call
        finally:
            exchange.end()

    def _count_request(self) -> None:
        if not self._is_parsed:
            self._request_count += 1
        else:
            self._messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
        if self._manager is not None:
            self._manager.requests_count += 1

    async def _send(self, answer: Answer) -> bool:
        """Send an answer; return whether the client has gone."""
        if self.transport is None or self.transport.is_closing():
            return True
        self.transport.write(answer.head + answer.content)
        if self._paused:
            try:
                await self._drain_helper()
            except ConnectionError:
                return True
        return False

    @property
    def _remote(self) -> str | None:
        peer = self.peername
        return str(peer[0]) if isinstance(peer, list | tuple) else peer
