"""Objects that the kernel moves from the store's socket to a pipe: complete, resumed after faults, or an error."""

import asyncio
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from adapters.blob_storage.s3 import RetryOptions, S3Options
from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.s3.piping import PIPED_BYTES_MIN
from adapters.blob_storage.s3.storage import S3BlobStorage
from core.errors import StorageUnavailableError
from core.model.secret import Secret
from tests.support.pipes import read_through_pipe
from tests.support.scs_server import Faults
from tests.support.scs_server.faults import Fault
from tests.support.scs_storage import QUICK
from tests.support.streams import payload, read_stream

CONTENT = payload(9 * MIB + 7)
KEY = "/object"
BUFFERED_BYTES = 3 * MIB
"""More than the HTTP client receives before its socket is taken over."""
LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
LENGTH = f"Content-Length: {len(CONTENT)}\r\n".encode()


@pytest.fixture
async def stored(server, storage):
    await storage.write(KEY, CONTENT)
    server.log.clear()
    return storage


@pytest.mark.parametrize(
    ("offset", "length"), [(0, None), (5, None), (0, 2 * MIB), (3 * MIB, 4 * MIB + 1), (7, 99 * MIB)]
)
async def test_requested_bytes_are_moved(server, stored, offset, length):
    expected = CONTENT[offset:] if length is None else CONTENT[offset : offset + length]
    async with stored.open_reader(KEY, offset=offset, length=length) as reader:
        assert reader.length == len(expected)
        assert await read_through_pipe(reader) == expected
    assert server.counts == {"get_object": 1}


async def test_small_object_is_not_piped(storage):
    await storage.write(KEY, CONTENT[: PIPED_BYTES_MIN - 1])
    async with storage.open_reader(KEY) as reader:
        assert reader.fill_pipe is None


async def test_object_that_has_arrived_completely_is_moved(storage, server):
    await storage.write(KEY, CONTENT[:PIPED_BYTES_MIN])
    async with storage.open_reader(KEY) as reader:
        await asyncio.sleep(0.2)
        assert await read_through_pipe(reader) == CONTENT[:PIPED_BYTES_MIN]
    assert server.counts["get_object"] == 1


async def test_connection_is_reused_after_a_complete_body(server, stored):
    before = server.connections
    for _ in range(3):
        async with stored.open_reader(KEY) as reader:
            assert await read_through_pipe(reader) == CONTENT
        assert await read_stream(stored, KEY, offset=5, length=7) == CONTENT[5:12]
    assert server.connections == before


async def test_connection_is_not_reused_after_a_part_of_a_body(server, stored):
    before = server.connections
    for _ in range(2):
        async with stored.open_reader(KEY) as reader:
            assert CONTENT.startswith(await read_through_pipe(reader, BUFFERED_BYTES))
    assert await read_stream(stored, KEY) == CONTENT
    assert server.connections == before + 2


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_descriptors_are_closed(stored):
    await stored.check()
    before = open_files()
    for size in (BUFFERED_BYTES, None):
        async with stored.open_reader(KEY) as reader:
            await read_through_pipe(reader, size)
        await stored.check()
    assert open_files() == before


async def test_cut_body_is_resumed(server, stored):
    server.faults.arm("get_object", Fault.CUT_BODY, Fault.CUT_BODY, Fault.RESET_BEFORE)
    async with stored.open_reader(KEY, offset=5) as reader:
        assert await read_through_pipe(reader) == CONTENT[5:]
    assert server.counts["get_object"] == 4


async def test_body_that_is_always_cut_is_an_error(server, stored):
    server.faults = Faults(rate=1, kinds=(Fault.CUT_BODY,))
    async with stored.open_reader(KEY) as reader:
        with pytest.raises(StorageUnavailableError, match="broke off"):
            await read_through_pipe(reader)
    assert server.counts["get_object"] == QUICK.attempts


@pytest.mark.parametrize("change", ["replaced", "removed"])
async def test_object_that_changes_during_the_read_is_an_error(server, stored, change):
    server.faults.arm("get_object", Fault.CUT_BODY)
    async with stored.open_reader(KEY) as reader:
        if change == "replaced":
            await stored.write(KEY, payload(len(CONTENT), seed=2))
        else:
            await stored.delete([KEY])
        with pytest.raises(StorageUnavailableError, match=change):
            await read_through_pipe(reader)


@asynccontextmanager
async def scripted_store(*bodies, status=200, head=LENGTH):
    """Open a storage on a store that answers each `GET` of an object with the next of these bodies, in pieces.

    The store sends the pieces as they are. It then keeps the connection open and sends nothing.
    """
    answers = iter(bodies)
    opened = []

    async def serve(reader, writer):
        opened.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while KEY.encode() not in await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LISTING) + LISTING)
            writer.write(b'HTTP/1.1 %d OK\r\nETag: "1"\r\n' % status + head + b"\r\n")
            for piece in next(answers):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.05)
            await reader.read()

    listening = await asyncio.start_server(serve, "127.0.0.1")
    options = S3Options(
        bucket="images",
        access_key="key",
        secret_key=Secret("hush"),
        region_endpoint=f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}",
        retry=RetryOptions(attempts=2, pause_base_seconds=0.001, read_seconds=0.5),
    )
    async with listening:
        async with S3BlobStorage(options) as storage:
            yield storage
        for writer in opened:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def test_store_that_stops_sending_is_given_up():
    body = [CONTENT[:BUFFERED_BYTES]]
    async with scripted_store(body, body) as storage, storage.open_reader(KEY) as reader, asyncio.timeout(60):
        with pytest.raises(StorageUnavailableError, match="get_object"):
            await read_through_pipe(reader)


async def test_slow_but_steady_store_is_waited_for():
    pieces = [CONTENT[start : start + MIB] for start in range(0, len(CONTENT), MIB)]
    async with scripted_store(pieces) as storage, storage.open_reader(KEY) as reader:
        assert await read_through_pipe(reader) == CONTENT


async def test_chunked_body_is_not_piped():
    rest = CONTENT[5:]
    head = f"Transfer-Encoding: chunked\r\nContent-Range: bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}\r\n"
    body = [b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest)]
    store = scripted_store(body, status=206, head=head.encode())
    async with store as storage, storage.open_reader(KEY, offset=5) as reader:
        assert reader.fill_pipe is None
        assert b"".join([piece async for piece in reader]) == rest
