"""Several requests on one connection: each byte belongs to one request, however the bytes arrive."""

import asyncio
import contextlib
import random
import re

import pytest

from config.settings import Settings
from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from entrypoints.http.connection.fastpath import protocol
from entrypoints.http.connection.fastpath.runner import GuardedRunner
from tests.http.conftest import open_app
from tests.support.guarded_server import run_guarded
from tests.support.streams import payload

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

NAME = RepositoryName("a")
HOST = b"Host: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
MEBIBYTE = 1024 * 1024
BODIES = payload(4 * MEBIBYTE, seed=8)


def monolithic_post(content):
    target = f"/v2/a/blobs/uploads/?digest={Digest.of(content)}".encode()
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (target, HOST, len(content)) + content


def get_of(number):
    """Return a request whose answer carries its number."""
    return b"GET /v2/number-%d/tags/list HTTP/1.1\r\n%bX-Padding: %b\r\n\r\n" % (number, HOST, b"p" * 300)


async def read_answer(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    body = await asyncio.wait_for(reader.readexactly(int(length[1])), 60) if length else b""
    return int(head.split(b" ", 2)[1]), head, body


async def send_in_pieces(writer, stream, cuts):
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        writer.write(stream[start:end])
        await writer.drain()
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("size", range(1_150_000, 1_800_000, 50_000))
async def test_half_of_the_next_head_survives_the_end_of_a_body(guarded, services, size):
    """The end of a body and a part of the next head arrive together, while the body waits in the buffer."""
    server = await guarded()
    reader, writer = await server.connect()
    content, follower = BODIES[:size], get_of(7)
    request = monolithic_post(content)
    writer.write(request + follower[:60])
    await asyncio.sleep(0.02)
    writer.write(follower[60:])
    assert (await read_answer(reader))[0] == 201
    status, _, body = await read_answer(reader)
    assert (status, b"number-7" in body) == (404, True)
    assert await services.read_blob(NAME, Digest.of(content)) == content
    writer.close()


@pytest.mark.parametrize("seed", range(24))
async def test_requests_in_any_pieces_are_answered_in_order(guarded, services, seed):
    """A model of pipelining: the n-th answer is that of the n-th request, whatever the pieces and the pauses."""
    choice = random.Random(seed)
    server = await guarded()
    reader, writer = await server.connect()
    stream, expected, contents = b"", [], []
    for number in range(choice.randint(3, 7)):
        if choice.random() < 0.5:
            stream += get_of(number)
            expected.append((404, b"number-%d" % number))
        else:
            start = choice.randrange(MEBIBYTE)
            content = BODIES[
                start : start + choice.choice([1, 70_000, MEBIBYTE, MEBIBYTE + choice.randrange(MEBIBYTE)])
            ]
            stream += monolithic_post(content)
            contents.append(content)
            expected.append((201, b""))
    cuts = sorted(choice.sample(range(1, len(stream)), choice.randint(0, 12)))
    sending = asyncio.create_task(send_in_pieces(writer, stream, cuts))
    for status, text in expected:
        answer = await read_answer(reader)
        assert (answer[0], text in answer[2]) == (status, True)
    await sending
    for content in contents:
        assert await services.read_blob(NAME, Digest.of(content)) == content
    writer.close()


def chunked_post(content, choice):
    """Return a push in three chunks of random size."""
    cuts = sorted(choice.randrange(1, len(content)) for _ in range(2)) if len(content) > 1 else []
    pieces = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    head = monolithic_post(content)[: -len(content)].replace(b"Content-Length: %d" % len(content), CHUNKED)
    return head + chunks + b"0\r\n\r\n"


def last_request(choice):
    """Return a request behind which nothing is read, and the status of its answer.

    llhttp takes bytes behind `Connection: close` and other faulty requests for an error: the answer is 400 then.
    """
    content = BODIES[: choice.choice([1, 5_000, 300_000, MEBIBYTE + 5_000])]
    upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % choice.choice([b"websocket", b"h2c"])
    return choice.choice([
        (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"Content-Length: 9000\r\n\r\n", 405),
        (b"GET /v2/ HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"PATCH /v2/ HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n\r\n0\r\n\r\n", 400),
        (monolithic_post(content).replace(b"\r\n\r\n", b"\r\n" + upgrade, 1), 201),
        (get_of(9).replace(b"\r\n", b"\r\nConnection: close\r\n", 1), 404),
    ])  # fmt: skip


def requests_of(choice):
    """Return up to five requests, and the statuses of their answers."""
    stream, expected = b"", []
    for number in range(choice.randint(0, 5)):
        content = BODIES[choice.randrange(99) :][: choice.choice([1, 70_000, MEBIBYTE + choice.randrange(MEBIBYTE)])]
        request, status = choice.choice([
            (get_of(number), 404), (monolithic_post(content), 201), (chunked_post(content, choice), 201),
        ])  # fmt: skip
        stream += request
        expected.append(status)
    return stream, expected


async def read_statuses(reader):
    """Return the statuses until the end; a server that closes with bytes unread resets, and answers may be lost."""
    statuses = []
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            statuses.append((await read_answer(reader))[0])
    return statuses


@pytest.mark.parametrize("seed", range(60))
async def test_bytes_after_the_last_request_are_not_read(services, seed):
    """The model with chunked bodies and an end: the last request is the last one, in whatever pieces."""
    choice = random.Random(seed)
    stream, expected = requests_of(choice)
    last, status = last_request(choice)
    stream += last
    places = [len(stream), len(stream) - 1, *(choice.randrange(1, len(stream)) for _ in range(6))]
    cuts = sorted(set(choice.sample(places, choice.randint(0, 5))))
    stream += b"".join(get_of(number) for number in range(choice.randint(1, 60)))
    app = open_app(services, Settings())
    executed = []

    async def note(_request, response):
        executed.append(response.status)

    app.on_response_prepare.append(note)
    async with run_guarded(app, Settings()) as server:
        reader, writer = await server.connect()
        sending = asyncio.create_task(send_in_pieces(writer, stream, cuts))
        statuses = await read_statuses(reader)
        with contextlib.suppress(ConnectionError):
            await sending
        writer.close()
    wanted = [*expected, status]
    if statuses and statuses[-1] == 400:
        # The parser drops the requests of a piece in which it finds an error: fewer are executed, never others.
        assert status in {400, 404, 505}
        assert statuses[:-1] == wanted[: len(statuses) - 1]
    else:
        assert statuses == wanted[: len(statuses)]
        assert executed == (expected if status in {400, 405, 505} else wanted)
    assert executed == wanted[: len(executed)]


async def test_unfinished_head_after_a_request_counts_against_the_bound(guarded, services):
    part = b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: %b\r\n" % (n, b"v" * 8000) for n in range(7))
    app = open_app(services, Settings())
    runner = GuardedRunner(app, Settings().http.limits)
    await runner.setup()
    server = runner.server
    assert isinstance(server, protocol.GuardedServer)
    for ahead in (get_of(1), monolithic_post(b"x" * 9000), chunked_post(b"x" * 9000, random.Random(1))):
        connection = server()
        connection.data_received(ahead + part)
        assert server.held_bytes == len(part)
        connection.connection_lost(None)
        assert server.held_bytes == 0
    await runner.cleanup()


async def test_queue_that_never_empties_counts_only_waiting_requests(guarded, monkeypatch):
    """A client that always has several requests waiting is not refused for those that were answered."""
    monkeypatch.setattr(protocol, "UNFINISHED_BYTES_MAX", 50_000)
    server = await guarded()
    reader, writer = await server.connect()
    count = 1000
    sending = asyncio.create_task(send_in_pieces(writer, b"".join(get_of(number) for number in range(count)), []))
    for number in range(count):
        status, _, body = await read_answer(reader)
        assert (status, b"number-%d" % number in body) == (404, True)
    await sending
    writer.close()


async def test_no_request_follows_an_abandoned_body(services):
    """A thread took bytes that the parser did not see: the bytes after the body must not be taken for requests."""
    app = open_app(services, Settings())
    paths = []

    async def note(request, _response):
        paths.append(request.path)

    app.on_response_prepare.append(note)
    async with run_guarded(app, Settings()) as server:
        target = await begin_upload(server)
        services.storage.open_writer = failing_after(services.storage.open_writer, 2 * MEBIBYTE)
        reader, writer = await server.connect()
        size = 3 * MEBIBYTE
        writer.write(b"PATCH %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (target, HOST, size) + BODIES[:size])
        # More than the thread took.
        writer.write(b"".join(get_of(number) for number in range(10_000)))
        status, head, _ = await read_answer(reader)
        assert (status, b"Connection: close" in head) == (503, True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.5)
        writer.close()
    assert [path for path in paths if path.startswith("/v2/number-")] == []


def failing_after(open_writer, limit):
    def open_failing(*arguments, **options):
        return FailingWriter(open_writer(*arguments, **options), limit)

    return open_failing


class FailingWriter:
    """A writer whose store fails once `limit` bytes were written."""

    def __init__(self, context, limit):
        self._context, self._limit, self._written = context, limit, 0

    async def __aenter__(self):
        self._inner = await self._context.__aenter__()
        return self

    async def __aexit__(self, *error):
        return await self._context.__aexit__(*error)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def _count(self, data):
        self._written += len(data)
        if self._written > self._limit:
            raise StorageUnavailableError("injected")

    async def write(self, data):
        self._count(data)
        await self._inner.write(data)

    def append_now(self, data):
        self._count(data)
        self._inner.append_now(data)


async def begin_upload(server):
    reply = await server.exchange(b"POST /v2/a/blobs/uploads/ HTTP/1.0\r\n" + HOST + b"\r\n")
    found = re.search(rb"Location: http://a(\S+)", reply)
    assert found
    return found[1]
