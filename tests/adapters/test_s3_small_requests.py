"""Connections for small requests: answers in every framing, broken answers, limits of time and size."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from adapters.blob_storage.s3 import RetryOptions, S3Options, connection
from adapters.blob_storage.s3.answers import HEAD_BYTES_MAX, SmallAnswer, SmallRequest
from adapters.blob_storage.s3.connection import StaleConnectionError
from adapters.blob_storage.s3.connections import SmallConnections
from adapters.blob_storage.s3.direct.http_pool import HttpPool
from adapters.blob_storage.s3.errors import translate
from adapters.blob_storage.s3.sdk.http_session import StoreHttpSession
from adapters.blob_storage.s3.storage import S3BlobStorage
from core.errors import ObjectTooLargeError, StorageUnavailableError
from core.model.secret import Secret
from tests.support.certificates import Authority
from tests.support.s3_servers import moto_endpoint
from tests.support.sockets import only_these_are_open, open_sockets

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "x"\r\n\r\nlink'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@dataclass
class Store:
    """Answers each request with the next bytes of a script, and then follows it."""

    port: int
    answers: list[bytes] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    piece_bytes: int = 1_000_000
    closes: bool = False
    """Whether the store closes a connection after an answer."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0) if self.answers else OK
                for start in range(0, len(answer), self.piece_bytes):
                    writer.write(answer[start : start + self.piece_bytes])
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.closes:
                    break
        writer.close()


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = Store(0)
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    store.port = server.sockets[0].getsockname()[1]
    yield store
    server.close()
    for writer in store.writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    await server.wait_closed()


@asynccontextmanager
async def connected(store: Store, *, limit: int = 4, read_seconds: float = 5.0) -> AsyncIterator[SmallConnections]:
    url = f"http://127.0.0.1:{store.port}/bucket"
    connections = SmallConnections(url, None, limit=limit, connect_seconds=5.0, read_seconds=read_seconds)
    try:
        yield connections
    finally:
        await connections.close()


async def ask(
    connections: SmallConnections, *, is_head: bool = False, bytes_max: int = 100, seconds: float = 10.0
) -> SmallAnswer:
    return await connections.exchange(SmallRequest(GET, is_head, bytes_max, seconds))


@pytest.mark.parametrize("piece_bytes", [1, 7, 1_000_000])
@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (OK, b"link"),
        (b"HTTP/1.0 200\r\ncontent-length:4\r\nconnection: Keep-Alive\r\n\r\nlink", b"link"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + OK, b"link"),
        (CHUNKED + b"2\r\nli\r\n02;a=b\r\nnk\r\n0\r\n\r\n", b"link"),
        (CHUNKED + b"0\r\nX-Checksum: 1\r\nX-Other: 2\r\n\r\n", b""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 200\r\n\r\n" + b"e" * 200, b"e" * 200),
    ],
)
async def test_answer_of_each_framing_is_read_and_the_connection_kept(
    store: Store, piece_bytes: int, answer: bytes, content: bytes
) -> None:
    store.piece_bytes, store.answers = piece_bytes, [answer, OK]
    async with connected(store) as connections:
        assert (await ask(connections)).content == content
        assert (await ask(connections)).content == b"link"
    assert store.connections == 1


async def test_head_has_no_content(store: Store) -> None:
    store.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nETag: a\r\nVia: b\r\nvia: c\r\n\r\n", OK]
    async with connected(store) as connections:
        answer = await ask(connections, is_head=True)
        assert (answer.status, answer.content) == (200, b"")
        assert answer.headers == {"content-length": "4000", "etag": "a", "via": "b, c"}
        assert (await ask(connections)).content == b"link"
    assert store.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlink",
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nlink",
        OK + b"more",
        CHUNKED + b"4\r\nlink\r\n0\r\n\r\nmore",
    ],
)
async def test_connection_without_a_certain_next_answer_is_not_used_again(store: Store, answer: bytes) -> None:
    store.answers = [answer, OK]
    async with connected(store, limit=1) as connections:
        for _ in range(2):
            assert (await ask(connections)).content == b"link"
            while connections.is_full:  # noqa: ASYNC110 - a lost connection sends no signal
                await asyncio.sleep(0)
    assert store.connections == 2


async def test_content_may_end_with_the_connection(store: Store) -> None:
    store.answers, store.closes = [b"HTTP/1.1 200 OK\r\n\r\nlink"], True
    async with connected(store) as connections:
        assert (await ask(connections)).content == b"link"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-store\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nlink",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nlink",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_BYTES_MAX,
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 10000000\r\n\r\n",
        CHUNKED + b"0x4\r\nlink\r\n0\r\n\r\n",
        CHUNKED + b"4\r\nlinks\r\n0\r\n\r\n",
        CHUNKED + b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n",
        CHUNKED + b"1;" + b"x" * 2_000,
        b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" * 2_000,
        CHUNKED + b"0\r\nX: " + b"x" * HEAD_BYTES_MAX,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
    ],
)
async def test_answer_that_is_not_http_or_too_long_is_an_error(store: Store, answer: bytes) -> None:
    store.answers = [answer, OK]
    async with connected(store) as connections:
        with pytest.raises(OSError, match="not valid HTTP"):
            await ask(connections)
        assert (await ask(connections)).content == b"link"
    assert store.connections == 2


async def test_long_lines_before_small_chunks_are_an_error(store: Store) -> None:
    store.answers = [CHUNKED + (b"1;" + b"x" * 1_000 + b"\r\ny\r\n") * 1_000, OK]
    async with connected(store) as connections:
        with pytest.raises(OSError, match="the lines before the chunks are too long"):
            await ask(connections, bytes_max=1_000)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200", OK[:-1], CHUNKED + b"4\r\nlink\r\n"])
async def test_answer_that_is_cut_is_an_error(store: Store, answer: bytes) -> None:
    store.answers, store.closes = [answer], True
    async with connected(store) as connections:
        with pytest.raises(ConnectionResetError):
            await ask(connections)


async def test_content_longer_than_wanted_is_not_read(store: Store) -> None:
    store.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, OK]
    async with connected(store) as connections:
        answer = await ask(connections)
        assert (answer.content, answer.headers["content-length"]) == (None, "101")
        assert (await ask(connections)).content == b"link"
    assert store.connections == 2


async def test_request_on_a_connection_that_the_store_closed_is_sent_again(store: Store) -> None:
    store.closes = True
    async with connected(store) as connections:
        for _ in range(3):
            assert (await ask(connections)).content == b"link"
    assert store.connections == 3


async def test_request_with_an_effect_of_its_own_is_not_sent_again(store: Store) -> None:
    async with connected(store) as connections:
        await ask(connections)
        # The store gets the request, and closes the connection without an answer.
        store.answers, store.closes = [b""], True
        with pytest.raises(StaleConnectionError):
            await connections.exchange(SmallRequest(GET, is_head=False, bytes_max=100, seconds=10.0, repeats=False))
    assert len(store.requests) == 2


async def test_first_request_of_a_connection_is_not_sent_again(store: Store) -> None:
    store.answers, store.closes = [b""], True
    async with connected(store) as connections:
        with pytest.raises(ConnectionResetError):
            await ask(connections)
    assert len(store.requests) == 1


@pytest.mark.parametrize(("read_seconds", "seconds"), [(0.05, 10.0), (10.0, 0.05)])
async def test_silent_store_times_out(store: Store, read_seconds: float, seconds: float) -> None:
    store.answers = [OK, OK[:10]]
    async with connected(store, read_seconds=min(read_seconds, 0.2)) as connections:
        assert (await ask(connections)).content == b"link"
        with pytest.raises(TimeoutError):
            await ask(connections, seconds=seconds)
        assert (await ask(connections)).content == b"link"
    assert store.connections == 2


async def test_answer_that_trickles_times_out(store: Store) -> None:
    store.answers, store.piece_bytes = [CHUNKED + b"1\r\nx\r\n" * 90_000], 6
    async with connected(store, read_seconds=0.05) as connections:
        with pytest.raises(TimeoutError):
            await ask(connections, bytes_max=1_000_000, seconds=0.1)


async def test_cancelled_request_closes_its_connection(store: Store) -> None:
    store.answers = [b"", OK]
    async with connected(store) as connections:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(connections), 0.05)
        assert (await ask(connections)).content == b"link"
    assert store.connections == 2


@pytest.mark.parametrize("steps", range(12))
async def test_request_cancelled_while_its_connection_opens_leaves_no_socket(store: Store, steps: int) -> None:
    """A socket that is left to the garbage collector is a warning, which fails the test."""
    async with connected(store) as connections:
        task = asyncio.create_task(ask(connections))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for _ in range(5):
            await asyncio.sleep(0)
        del task
        gc.collect()


async def test_request_cancelled_after_its_answer_leaves_the_next_one_alone(store: Store) -> None:
    store.answers = [OK, OK.replace(b"link", b"next")]
    request = SmallRequest(GET, is_head=False, bytes_max=100, seconds=10.0)
    followers: list[asyncio.Task[SmallAnswer]] = []

    def reuse(freed: connection.StoreConnection) -> None:
        if not followers:
            followers.append(asyncio.create_task(freed.exchange(request)))
            # The answer has arrived, and the first task has not continued yet.
            asyncio.get_running_loop().call_soon(first.cancel)

    transport, opened = await asyncio.get_running_loop().create_connection(
        lambda: connection.StoreConnection(5.0, on_free=reuse, on_lost=lambda _: None), "127.0.0.1", store.port
    )
    first = asyncio.create_task(opened.exchange(request))
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await followers[0]).content == b"next"
    transport.close()


async def test_bytes_without_a_request_close_the_connection(store: Store) -> None:
    async with connected(store, limit=1) as connections:
        await ask(connections)
        store.writers[0].write(OK)
        while not store.writers[0].is_closing():  # noqa: ASYNC110 - a stream sends no signal
            await asyncio.sleep(0.01)
        await ask(connections)
    assert store.connections == 2


async def test_idle_connection_is_closed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS_MAX", 0.05)
    async with connected(store) as connections:
        await ask(connections)
        await asyncio.sleep(0.2)
        await ask(connections)
    assert store.connections == 2


async def test_connections_are_bounded_and_kept(store: Store) -> None:
    async with connected(store, limit=2) as connections:
        assert not connections.is_full
        first, second = asyncio.create_task(ask(connections)), asyncio.create_task(ask(connections))
        await asyncio.sleep(0)
        assert connections.is_full
        await first
        await second
        assert not connections.is_full
        await ask(connections)
    assert store.connections == 2


async def test_store_that_refuses_connections_is_an_error_and_takes_no_place(store: Store) -> None:
    connections = SmallConnections("http://127.0.0.1:1/", None, limit=1, connect_seconds=5.0, read_seconds=5.0)
    for _ in range(2):
        assert not connections.is_full
        with pytest.raises(ConnectionRefusedError):
            await ask(connections)


async def test_closing_ends_requests_under_way(store: Store) -> None:
    store.answers = [b"HTTP/1.1 200 OK\r\n\r\nli"]
    async with connected(store) as connections:
        task = asyncio.create_task(ask(connections))
        while not store.requests:  # noqa: ASYNC110 - a list sends no signal
            await asyncio.sleep(0.01)
    with pytest.raises(ConnectionAbortedError):
        await task


async def test_store_behind_a_proxy_has_no_connections_of_its_own() -> None:
    proxies = {"http": "http://127.0.0.1:3128"}
    pool = HttpPool(S3Options(), proxies)
    for connections in (pool, StoreHttpSession(proxies=proxies)):
        assert connections.small_connections("http://store/", 4, RetryOptions()) is None
        assert connections.small_connections("https://store/", 0, RetryOptions()) is None
    await pool.close()


@pytest.fixture(scope="module")
def endpoint():
    with moto_endpoint("small") as url:
        yield url


def options(url: str, **changes: object) -> S3Options:
    settings = {"bucket": "small", "access_key": "key", "secret_key": Secret("hush"), "region_endpoint": url}
    retry = RetryOptions(attempts=1)
    return S3Options(**(settings | {"retry": retry} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{}, {"connections_max": 3}, {"v4_auth": False}])
async def test_object_is_read_up_to_a_limit_on_any_path(endpoint: str, changes: dict[str, object]) -> None:
    """Over the connections for small requests, by aiohttp alone, and by botocore's client."""
    async with S3BlobStorage(options(endpoint, **changes)) as storage:
        await storage.write("/a", b"content")
        for _ in range(2):
            assert await storage.read("/a", limit=7) == b"content"
            with pytest.raises(ObjectTooLargeError) as caught:
                await storage.read("/a", limit=6)
            assert (caught.value.size, caught.value.limit) == (7, 6)
        await storage.delete(["/a"])


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def tls_in_front_of(url: str, authority: Authority, *, address: str = "localhost") -> AsyncIterator[str]:
    """Yield the URL of a TLS server that passes all bytes on, at an address of this machine."""
    pair = authority.issue("store")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    parts = urlsplit(url)
    served: set[asyncio.Task[None]] = set()
    sockets = open_sockets()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            served.add(task)
        inner_reader, inner_writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(copy(reader, inner_writer))
                tasks.create_task(copy(inner_reader, writer))
        finally:
            # Unlike `close`, this leaves no socket to the garbage collector if data waits for a slow server.
            inner_writer.transport.abort()

    server = await asyncio.start_server(serve, address.replace("localhost", "127.0.0.1"), 0, ssl=context)
    try:
        yield f"https://{address}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        if served:
            await asyncio.wait(served)
        await server.wait_closed()
        await only_these_are_open(sockets)


@pytest.mark.parametrize("v4_auth", [True, False])
@pytest.mark.parametrize("skip_verify", [False, True])
async def test_small_requests_use_the_tls_of_the_configuration(
    endpoint: str, tmp_path: Path, *, skip_verify: bool, v4_auth: bool
) -> None:
    authority = Authority(tmp_path)
    trusted = None if skip_verify else str(authority.path)
    async with (
        tls_in_front_of(endpoint, authority) as url,
        S3BlobStorage(options(url, skip_verify=skip_verify, authorities=trusted, v4_auth=v4_auth)) as storage,
    ):
        await storage.write("/a", b"content")
        assert await storage.read("/a") == b"content"
        assert (await storage.stat("/a")).size == 7
        await storage.delete(["/a"])


@pytest.mark.parametrize("v4_auth", [True, False])
@pytest.mark.parametrize("connections_max", [1, 8])
async def test_certificate_of_another_host_is_refused(
    endpoint: str, tmp_path: Path, *, connections_max: int, v4_auth: bool
) -> None:
    authority = Authority(tmp_path)
    async with tls_in_front_of(endpoint, authority, address="127.0.0.2") as url:
        changes = {"authorities": str(authority.path), "connections_max": connections_max, "v4_auth": v4_auth}
        with pytest.raises(StorageUnavailableError, match="cannot establish TLS"):
            async with S3BlobStorage(options(url, **changes)):
                pytest.fail("it opened")


async def test_missing_file_of_authorities_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError, match="FileNotFoundError"):
        async with S3BlobStorage(options("https://127.0.0.1:1", authorities=str(tmp_path / "none"))):
            pytest.fail("it opened")


async def test_small_requests_verify_the_certificate(tmp_path: Path) -> None:
    context = ssl.create_default_context()
    async with tls_in_front_of("http://127.0.0.1:1", Authority(tmp_path)) as url:
        connections = SmallConnections(url, context, limit=1, connect_seconds=5.0, read_seconds=5.0)
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await ask(connections)
    with pytest.raises(StorageUnavailableError, match="cannot establish TLS"):
        raise translate(caught.value, driver="s3", bucket="b", operation="get_object", key="/a")
