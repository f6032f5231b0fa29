"""Receivers over HTTP: requests, answers, and errors without secrets."""

import asyncio
import logging
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from adapters.notifications.http_receiver import HttpEventReceiver
from core.ports.event_receiver import ReceiverUnavailableError

V1 = "application/vnd.docker.distribution.events.v1+json"


@pytest.fixture
async def server(aiohttp_server):
    """Answers by path; keeps what came."""
    came = []
    elsewhere: dict[str, Any] = {}

    async def take(request):
        came.append((request, await request.read()))
        action = request.path.rpartition("/")[2]
        if action == "hang":
            await asyncio.sleep(30)
        if action == "cut":
            request.transport.abort()
        if action in {"301", "307", "308"}:
            return web.Response(status=int(action), headers={"Location": "/200"})
        if action in elsewhere:
            return web.Response(status=307, headers=elsewhere[action])
        if action == "loop":
            return web.Response(status=307, headers={"Location": "/loop"})
        return web.Response(status=int(action) if action.isdigit() else 200, text="x" * 100_000)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    running = await aiohttp_server(app, shutdown_timeout=0)
    running.came = came
    running.elsewhere = elsewhere
    return running


def receiver(server, path="/200", **options):
    defaults: dict[str, Any] = {"media_type": V1, "headers": {}, "timeout_seconds": 0.5}
    return HttpEventReceiver(str(server.make_url(path)), **(defaults | options))


async def test_body_and_headers_arrive(server):
    headers = {"Authorization": ["Bearer x"], "X-Twice": ["1", "2"]}
    async with receiver(server, headers=headers) as opened:
        assert await opened.post(b'{"events": []}') == 200
    [(request, body)] = server.came
    assert (request.method, body) == ("POST", b'{"events": []}')
    assert request.headers.getall("Content-Type") == [V1]
    assert request.headers.getall("X-Twice") == ["1", "2"]
    assert request.headers["Authorization"] == "Bearer x"


async def test_configured_content_type_is_sent(server):
    async with receiver(server, headers={"content-type": ["text/x"]}) as opened:
        assert await opened.post(b"{}") == 200
    [(request, _)] = server.came
    assert request.headers.getall("Content-Type") == ["text/x"]


@pytest.mark.parametrize("status", [200, 204, 304, 400, 404, 500, 503])
async def test_status_is_returned(server, status):
    async with receiver(server, f"/{status}") as opened:
        assert await opened.post(b"{}") == status


@pytest.mark.parametrize("status", [307, 308])
async def test_redirect_that_keeps_the_method_is_followed(server, status):
    async with receiver(server, f"/{status}") as opened:
        assert await opened.post(b"body") == 200
    assert [(request.method, body) for request, body in server.came] == [("POST", b"body")] * 2


async def test_redirect_that_loses_the_event_is_an_error(server):
    async with receiver(server, "/301") as opened:
        with pytest.raises(ReceiverUnavailableError, match="correct the URL"):
            await opened.post(b"body")


@pytest.mark.parametrize("header", ["Location", "URI"])
@pytest.mark.parametrize("place", ["port", "scheme", "host", "user", "no host"])
async def test_redirect_to_another_server_is_not_followed(server, aiohttp_server, place, header):
    async def take(request):
        raise AssertionError("asked on the word of another server")

    other = web.Application()
    other.router.add_route("*", "/{path:.*}", take)
    port, own = (await aiohttp_server(other)).port, server.port
    server.elsewhere["away"] = {
        header: {
            "port": f"http://127.0.0.1:{port}/200",
            "scheme": f"https://127.0.0.1:{own}/200",
            "host": f"http://localhost:{own}/200",
            "user": f"http://127.0.0.1:{own}@localhost:{port}/200",
            "no host": "mailto:someone@example.com",
        }[place]
    }
    async with receiver(server, "/away", headers={"Authorization": ["Bearer x"]}) as opened:
        with pytest.raises(ReceiverUnavailableError):
            await opened.post(b"body")
    assert len(server.came) == 1


async def test_authorization_goes_before_the_user_of_the_url(server):
    url = str(server.make_url("/200").with_user("user").with_password("p"))
    for headers, sent in (({}, "Basic dXNlcjpw"), ({"authorization": ["Bearer x"]}, "Bearer x")):
        async with HttpEventReceiver(url, media_type=V1, headers=headers, timeout_seconds=1) as opened:
            assert await opened.post(b"{}") == 200
        assert server.came[-1][0].headers.getall("Authorization") == [sent]


@pytest.mark.parametrize("path", ["/hang", "/cut", "/loop"])
async def test_missing_answer_is_an_error_within_the_timeout(server, path):
    async with receiver(server, path) as opened:
        async with asyncio.timeout(5):
            with pytest.raises(ReceiverUnavailableError):
                await opened.post(b"{}")


async def test_error_of_a_closed_port_shows_no_secret(caplog):
    caplog.set_level(logging.DEBUG)
    url = f"http://user:hunter2@127.0.0.1:{unused_port()}/token-hunter2"
    headers = {"Authorization": ["Bearer hunter2"]}
    async with HttpEventReceiver(url, media_type=V1, headers=headers, timeout_seconds=1) as opened:
        with pytest.raises(ReceiverUnavailableError) as raised:
            await opened.post(b"{}")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "hunter2" not in str(raised.value) + caplog.text + repr(opened)


@pytest.mark.parametrize("url", ["no-url", "ftp://host/", "http://"])
async def test_invalid_url_is_an_error(url):
    async with HttpEventReceiver(url, media_type=V1, headers={}, timeout_seconds=1) as opened:
        with pytest.raises(ReceiverUnavailableError):
            await opened.post(b"{}")


async def test_closed_receiver_is_an_error(server):
    opened = receiver(server)
    async with opened:
        pass
    with pytest.raises(ReceiverUnavailableError):
        await opened.post(b"{}")
