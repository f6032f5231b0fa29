"""Malformed requests are refused with OCI errors before they reach the application, and the server continues."""

import asyncio
import contextlib
import json
import logging
import ssl

import pytest
from aiohttp import web

from config.settings import Settings
from core.model.digest import Digest
from core.model.names import RepositoryName
from entrypoints.http.connection.fastpath import protocol
from tests.http.conftest import open_app
from tests.support.guarded_server import run_guarded, with_limits
from tests.support.quiet import settle
from tests.support.streams import payload

HOST = b"Host: a\r\n"


def parse(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return int(status.split()[1]), headers, body


async def refusal(server, request):
    status, headers, body = parse(await server.exchange(request))
    assert headers["Content-Type"] == "application/json"
    [error] = json.loads(body)["errors"]
    assert error["code"] == "UNSUPPORTED"
    return status, headers, error["message"]


@pytest.mark.fastpath_only
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET\r\n\r\n",
        b"GET /v2/\r\n\r\n",
        b"GET /v2/:HTTP/1.1\r\n" + HOST + b"\r\n",
        b"get /v2/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"G\xc3\x89T /v2/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /v2/ HTTP/3.0\r\n" + HOST + b"\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\n" + HOST + b"\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET http://[ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nhello",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_malformed_request_is_400_with_an_error_document(guarded, request_bytes):
    server = await guarded()
    status, headers, message = await refusal(server, request_bytes)
    assert (status, message) == (400, "malformed request")
    assert headers["Connection"] == "close"
    assert b" 200 " in await server.exchange(b"GET /v2/ HTTP/1.0\r\n\r\n")


@pytest.mark.fastpath_only
@pytest.mark.parametrize("limits", [{}, {"url_bytes": 4096, "header_bytes": 8192}])
async def test_oversized_parts_have_specific_statuses(guarded, limits):
    server = await guarded(with_limits(**limits))
    long = b"x" * 33000
    too_long = await refusal(server, b"GET /v2/" + long[:17000] + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (too_long[0], too_long[2]) == (414, "URL too long")
    for field in (b"X: " + long, long + b": x"):
        too_large = await refusal(server, b"GET /v2/ HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n")
        assert (too_large[0], too_large[2]) == (431, "header field too large")
    too_many = await refusal(server, b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n")
    assert (too_many[0], too_many[2]) == (431, "too many header fields")


async def test_smuggled_request_is_not_answered(guarded):
    server = await guarded()
    smuggled = b"DELETE /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\n\r\n"
    request = b"POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    answer = await server.exchange(request + smuggled)
    assert answer.count(b"HTTP/1.") == 1


@pytest.mark.fastpath_only
@pytest.mark.parametrize("chunk", [b"zz\r\nhello\r\n", b"5\r\nhelloworld\r\n", b"-5\r\nhello\r\n", b"5\nhello\n"])
async def test_broken_chunks_are_400_with_an_error_document(guarded, chunk):
    server = await guarded()
    head = b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, _ = await refusal(server, head + chunk)
    assert status == 400


@pytest.mark.fastpath_only
async def test_expect_header_is_satisfied_or_refused(guarded):
    server = await guarded()
    head = b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\nExpect: %b\r\n\r\nx"
    assert (await server.exchange(head % b"100-continue")).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")
    assert (await refusal(server, head % b"tea"))[0] == 417
    assert (await refusal(server, (head % b"tea").replace(b"/x", b"/%0a")))[0] == 417
    old = b"GET /v2/ HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"
    assert (await server.exchange(old)).startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/%0aX:y/tags/list",
        b"/v2/%0d%0aSet-Cookie:x/tags/list",
        b"/v2/%00/tags/list",
        b"/v2/%ff%fe/manifests/%c0%80",
        b"*",
    ],
)
async def test_encoded_control_characters_reach_no_header(guarded, target):
    server = await guarded()
    for method in (b"GET", b"OPTIONS", b"DELETE", b"CONNECT"):
        head = method + b" " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        answer = await server.exchange(head)
        assert b"\r\nSet-Cookie" not in answer
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200 OK", b"HTTP/1.0 4"))


async def test_log_line_cannot_be_forged(guarded, caplog):
    caplog.set_level(logging.INFO)
    server = await guarded()
    await server.exchange(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX\x01y: forged\r\n\r\n")
    [record] = [each for each in caplog.records if "malformed" in each.message]
    assert "\n" not in record.message


@pytest.mark.fastpath_only
@pytest.mark.parametrize(
    ("request_bytes", "wanted"),
    [
        (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n" + b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"Content-Length: 40\r\n\r\nGET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"PATCH /v2/ HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v2/ HTTP/1.1\r\n", 400),
        (b"GET /v2/ HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (
            b"GET /v2/ HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: %b\r\n" % (n, b"v" * 8000) for n in range(9)) + b"\r\n",
            431,
        ),
    ],
    ids=["connect", "connect-with-a-body", "chunked-http-1.0", "http-2.0", "large-head"],
)
async def test_refused_request_is_the_last_one(guarded, request_bytes, wanted):
    """The bytes after such a request are not read as requests."""
    server = await guarded()
    answer = await server.exchange(request_bytes)
    status, headers, body = parse(answer)
    assert (status, headers["Connection"]) == (wanted, "close")
    assert len(body) == int(headers["Content-Length"])


@pytest.mark.fastpath_only
async def test_head_that_does_not_end_is_refused_at_its_bound(guarded):
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(b"GET /v2/ HTTP/1.1\r\n" + HOST)
    for number in range(9):
        writer.write(b"X-%d: %b\r\n" % (number, b"v" * 8000))
        await asyncio.sleep(0.01)
    status, _, body = parse(await asyncio.wait_for(reader.read(), 60))
    assert (status, b"in total" in body) == (431, True)
    writer.close()


@pytest.mark.fastpath_only
async def test_unfinished_heads_share_a_bound(guarded, monkeypatch):
    monkeypatch.setattr(protocol, "UNFINISHED_BYTES_MAX", 200_000)
    server = await guarded()
    opened = [await server.connect() for _ in range(5)]
    for _, writer in opened:
        writer.write(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: %b\r\n" % (n, b"v" * 8000) for n in range(7)))
        await settle()
    refused = [parse(await asyncio.wait_for(reader.read(), 60))[0] for reader, _ in opened[3:4]]
    assert refused == [503]
    for _, writer in opened:
        writer.close()
    await settle()
    # The bytes of closed connections count no more.
    assert b" 200 " in await server.exchange(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: " + b"v" * 8000 + b"\r\n\r\n")


UPGRADES = [b"websocket", b"h2c", b"TLS/1.0"]


def upgrading(upgrade, head=b"GET /v2/ HTTP/1.1\r\n"):
    return head + HOST + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n"


@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_upgrade_is_ignored_and_the_connection_serves_on(guarded, upgrade):
    server = await guarded()
    reader, writer = await server.connect()
    for _ in range(3):
        writer.write(upgrading(upgrade))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert b"Connection: close" not in head
        await reader.readexactly(2)
    writer.close()


@pytest.mark.fastpath_only
@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_upgrade_before_a_pipelined_request_announces_the_end(guarded, upgrade):
    """The parser drops the bytes behind an upgrade: the client learns that they have to be sent again."""
    server = await guarded()
    answer = await server.exchange(upgrading(upgrade) + b"GET /v2/_catalog HTTP/1.1\r\n" + HOST + b"\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answer


@pytest.mark.fastpath_only
@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("size", [5, 200_000, 3_000_000])
@pytest.mark.parametrize("pieces", [0, 1, 4])
async def test_upgrade_with_a_body_is_the_last_request(guarded, services, upgrade, size, pieces):
    """Java's HttpClient and curl's --http2 offer h2c with an upload, and send its body after the head."""
    content = payload(size, seed=16)
    server = await guarded()
    reader, writer = await server.connect()
    head = f"POST /v2/a/blobs/uploads/?digest={Digest.of(content)} HTTP/1.1\r\nContent-Length: {size}\r\n".encode()
    stream = upgrading(upgrade, head) + content
    cuts = [len(upgrading(upgrade, head)) + size * n // pieces for n in range(pieces)]
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        writer.write(stream[start:end])
        await asyncio.sleep(0.01)
    answer = await asyncio.wait_for(reader.read(), 60)
    assert answer.startswith(b"HTTP/1.1 201")
    assert (answer.count(b"HTTP/1.1"), answer.count(b"Connection: close")) == (1, 1)
    assert await services.read_blob(RepositoryName("a"), Digest.of(content)) == content
    writer.close()


@pytest.mark.fastpath_only
@pytest.mark.parametrize("count", [1, 3])
async def test_half_closed_client_gets_its_answers(services, monkeypatch, count):
    """The server answers after the client has finished sending, so the last answer announces the end."""
    half_closed = asyncio.Event()
    eof_received = protocol.GuardedProtocol.eof_received

    def note(connection):
        keeps_open = eof_received(connection)
        half_closed.set()
        return keeps_open

    @web.middleware
    async def answer_then(request, handler):
        await half_closed.wait()
        return await handler(request)

    monkeypatch.setattr(protocol.GuardedProtocol, "eof_received", note)
    app = open_app(services, Settings())
    app.middlewares.append(answer_then)
    async with run_guarded(app, Settings()) as server:
        reader, writer = await server.connect()
        writer.write((b"GET /v2/_catalog HTTP/1.1\r\n" + HOST + b"\r\n") * count)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
    *earlier, last = answer.split(b"HTTP/1.1 200 ")[1:]
    assert len(earlier) == count - 1
    assert all(b"repositories" in each and b"Connection: close" not in each for each in earlier)
    assert b"repositories" in last
    assert last.count(b"Connection: close") == 1


@pytest.mark.fastpath_only
@pytest.mark.parametrize("size", [5, 3_000_000])
async def test_upload_of_a_half_closed_client_is_stored(guarded, services, size):
    content = b"x" * size
    server = await guarded()
    reader, writer = await server.connect()
    target = f"/v2/a/blobs/uploads/?digest={Digest.of(content)}".encode()
    writer.write(b"POST " + target + b" HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size + content)
    writer.write_eof()
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 201")
    assert await services.read_blob(RepositoryName("a"), Digest.of(content)) == content
    writer.close()


async def test_half_closed_idle_connection_is_closed(guarded):
    server = await guarded()
    for sent in (b"", b"GET /v2/ HT", b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n"):
        reader, writer = await server.connect()
        writer.write(sent)
        if sent.endswith(b"\r\n\r\n"):
            await reader.readuntil(b"\r\n\r\n")
            await settle()
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 60)
        writer.close()


@pytest.mark.fastpath_only
async def test_responses_name_no_versions_and_forbid_sniffing(guarded):
    server = await guarded()
    for request in (b"GET /v2/ HTTP/1.0\r\n\r\n", b"GET /nothing HTTP/1.0\r\n\r\n", b"GET /v2/ HTTP/3.0\r\n\r\n"):
        _, headers, _ = parse(await server.exchange(request))
        assert (headers["Server"], headers["X-Content-Type-Options"]) == ("registry", "nosniff")


@pytest.mark.fastpath_only
async def test_tls_handshake_on_the_plain_port_is_logged_once(guarded, caplog):
    caplog.set_level(logging.INFO)
    server = await guarded()
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        await server.connect(ssl.create_default_context())
    await settle()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("entrypoints")]
    [line] = [line for line in lines if line.startswith("rejected")]
    assert line.endswith(": the client started TLS on a port for plain HTTP")
