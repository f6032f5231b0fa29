"""Certificates of the system that are read late are still required, and read once."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.start.late_certificates import certificates_read_late
from tests.support.certificates import Authority
from tests.support.tools import REPOSITORY_ROOT

PROGRAM = """
import asyncio, json, ssl, sys
from entrypoints.start.late_certificates import certificates_read_late
with certificates_read_late():
    import aiohttp.connector
contexts = [each for each in vars(aiohttp.connector).values() if isinstance(each, ssl.SSLContext)]
count = lambda: [len(each.get_ca_certs()) for each in contexts]

async def ask(**options):
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(sys.argv[1], **options) as response:
                return response.status
        except aiohttp.ClientConnectorCertificateError as error:
            return error.certificate_error.verify_message

async def main():
    print(json.dumps([count(), await ask(), await ask(), await ask(ssl=False), count()]))

asyncio.run(main())
"""


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_client_of_aiohttp_verifies_as_before(tmp_path: Path, *, is_trusted: bool) -> None:
    pair = Authority(tmp_path).issue("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    trusted = pair.authority if is_trusted else Authority(tmp_path, "other").path
    environment = {**os.environ, "SSL_CERT_FILE": str(trusted), "SSL_CERT_DIR": str(tmp_path / "none")}
    async with server:
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, url, cwd=REPOSITORY_ROOT, env=environment, stdout=subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(client.communicate(), 60)
    before, first, second, unverified, after = json.loads(output)
    answer = 200 if is_trusted else "unable to get local issuer certificate"
    assert (first, second, unverified) == (answer, answer, 200)
    # Two contexts, each of which has the one authority after its first connection.
    assert (before, after) == ([0, 0], [1, 1])


def test_context_for_a_plain_socket_reads_the_certificates() -> None:
    with certificates_read_late():
        late = ssl.create_default_context()
    assert late.cert_store_stats()["x509"] == 0
    ours, theirs = socket.socketpair()
    with theirs, late.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False):
        assert late.cert_store_stats() == ssl.create_default_context().cert_store_stats()


def test_other_contexts_are_left_alone() -> None:
    with certificates_read_late():
        pass
    assert type(ssl.create_default_context()) is ssl.SSLContext
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)
