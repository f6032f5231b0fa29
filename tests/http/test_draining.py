"""Draining: which requests are still answered after a stop was requested."""

import asyncio
from dataclasses import replace

import pytest

from config.settings import Settings
from entrypoints.http.draining import IDLE_SECONDS
from entrypoints.http.keys import IN_FLIGHT
from tests.http.conftest import open_app
from tests.support.guarded_server import run_guarded

REQUEST = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"
READ_SECONDS = 60


@pytest.fixture
async def served(services, fastpath):
    """An application and its server."""
    settings = Settings()
    settings = replace(settings, http=replace(settings.http, fastpath=fastpath))
    app = open_app(services, settings)
    async with run_guarded(app, settings) as server:
        yield app, server


async def begin_to_drain(app, listener, seconds):
    await listener.stop()
    draining = asyncio.create_task(app[IN_FLIGHT].drain(seconds, is_connected=lambda: listener.is_connected))
    await asyncio.sleep(0)
    assert app[IN_FLIGHT].is_draining
    return draining


async def test_idle_connections_get_one_more_response(served):
    app, server = served
    used = await server.connect()
    used[1].write(REQUEST)
    assert b"\r\nConnection: close\r\n" not in await used[0].readuntil(b"{}")
    unused = await server.connect()
    draining = await begin_to_drain(app, server.listener, 30)
    for reader, writer in (used, unused):
        assert not draining.done()
        writer.write(REQUEST)
        answer = await asyncio.wait_for(reader.read(), READ_SECONDS)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer
    assert await draining


@pytest.mark.parametrize(("limit", "least"), [(30, IDLE_SECONDS), (0.1, 0.1)])
async def test_idle_connections_delay_a_stop_for_a_bounded_time(served, limit, least):
    app, server = served
    await server.connect()
    loop = asyncio.get_running_loop()
    began = loop.time()
    draining = await begin_to_drain(app, server.listener, limit)
    assert await asyncio.wait_for(draining, READ_SECONDS)
    assert loop.time() - began >= least
    assert server.listener.is_connected


async def test_stop_without_connections_takes_no_time(served):
    app, server = served
    draining = await begin_to_drain(app, server.listener, 0)
    await asyncio.sleep(0)
    assert draining.done()
    assert draining.result()
