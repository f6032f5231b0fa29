"""Requests that bypass aiohttp's router pass middlewares and signals as others do."""

import pytest
from aiohttp import web

from config.settings import Settings
from entrypoints.http.connection.fastpath.routing_bypass import bypass_routing
from tests.support.guarded_server import run_guarded


async def answer(_request):
    return web.Response(text="the handler")


def app_with(*middlewares, path="/{path:.*}"):
    app = web.Application(middlewares=middlewares)
    app.router.add_route("*", path, answer)
    return app


def note(word, words):
    @web.middleware
    async def middleware(request, handler):
        words.append(word)
        response = await handler(request)
        words.append(f"after {word}")
        return response

    return middleware


async def test_middlewares_run_in_their_order_and_signals_after_them():
    words: list[str] = []
    app = app_with(note("outer", words), note("inner", words))

    async def sign(request, response):
        words.append("signal")
        response.headers["X-App"] = str(request.app is app)

    app.on_response_prepare.append(sign)
    async with run_guarded(app, Settings()) as server:
        for _ in range(2):
            text = await server.exchange(b"GET /a/b?c=d HTTP/1.0\r\nHost: a\r\n\r\n")
            assert text.endswith(b"the handler")
            assert b"X-App: True" in text
    assert words == ["outer", "inner", "after inner", "after outer", "signal"] * 2


async def test_client_that_waits_receives_100_continue():
    async with run_guarded(app_with(), Settings()) as server:
        reader, writer = await server.connect()
        writer.write(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_other_expectations_fail():
    async with run_guarded(app_with(), Settings()) as server:
        text = await server.exchange(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: miracles\r\n\r\n")
    assert text.startswith(b"HTTP/1.1 417 ")


async def test_application_with_several_routes_is_refused():
    app = app_with()
    app.router.add_route("*", "/other", answer)
    with pytest.raises(ValueError, match="too many values"):
        bypass_routing(app)
