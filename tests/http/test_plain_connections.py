"""Connections without the fast path (`http.fastpath: false`): what aiohttp's public API offers."""

import asyncio
import logging
import subprocess
import sys
from dataclasses import replace

import pytest

from core.model.digest import Digest
from core.model.names import RepositoryName
from tests.http.conftest import open_app
from tests.support.guarded_server import run_guarded, with_limits
from tests.support.streams import payload

NAME = RepositoryName("a")


@pytest.fixture
def plain():
    """Return settings with the fast path off and the given limits."""

    def settings(**limits):
        settings = with_limits(**limits)
        return replace(settings, http=replace(settings.http, fastpath=False))

    return settings


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX y: password\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: " + b"password" * 5_000 + b"\r\n\r\n",
        b"GET /v2/" + b"password" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\n" + b"X: password\r\n" * 200 + b"\r\n",
    ],
    ids=["malformed", "large field", "long URL", "many fields"],
)
async def test_refused_head_is_a_400_and_not_in_the_log(services, plain, caplog, request_bytes):
    caplog.set_level(logging.INFO)
    async with run_guarded(open_app(services, plain()), plain()) as server:
        answer = await server.exchange(request_bytes)
        assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
        assert b" 200 " in await server.exchange(b"GET /v2/ HTTP/1.0\r\n\r\n")
    assert "malformed request" in caplog.text
    assert "password" not in caplog.text


async def test_head_that_does_not_end_is_cut_off_with_an_idle_connection(services, plain):
    settings = plain(keepalive_seconds=0.5)
    async with run_guarded(open_app(services, settings), settings) as server:
        reader, writer = await server.connect()
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n")
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()


async def test_large_blob_is_pushed_and_pulled(services, plain):
    content = payload(5_000_000)
    digest = Digest.of(content)
    async with run_guarded(open_app(services, plain()), plain()) as server:
        head = (
            f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        assert (await server.exchange(head.encode() + content)).startswith(b"HTTP/1.1 201 ")
        assert await services.read_blob(NAME, digest) == content
        answer = await server.exchange(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert answer.partition(b"\r\n\r\n")[2] == content


@pytest.mark.parametrize("is_on", [True, False])
def test_package_is_loaded_only_with_the_setting_on(is_on):
    program = (
        "import sys\n"
        "from aiohttp import web\n"
        "from config.settings import HttpSettings\n"
        "import entrypoints.process.server\n"
        "from entrypoints.http.connection.runner import create_runner\n"
        f"create_runner(web.Application(), HttpSettings(fastpath={is_on}))\n"
        "print(any('fastpath' in name for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{is_on}\n"
