"""Streams from the store: `open_reader`."""

import asyncio

import pytest

from core.errors import ObjectNotFoundError, RangeInvalidError
from tests.support.pipes import read_through_pipe
from tests.support.streams import payload, read_stream

PIECE_BYTES_MAX = 4 * 1024 * 1024
BIG = 9 * 1024 * 1024 + 7


class ReaderCases:
    async def test_stream_yields_whole_object(self, storage):
        await storage.write("/object", b"0123456789")
        async with storage.open_reader("/object") as reader:
            assert (reader.size, reader.length, reader.offset) == (10, 10, 0)
            assert b"".join([piece async for piece in reader]) == b"0123456789"

    async def test_version_is_that_of_one_write(self, storage):
        versions = []
        for content in (b"0123456789", b"0123456780"):
            await storage.write("/object", content)
            for offset in (0, 5):
                async with storage.open_reader("/object", offset=offset) as reader:
                    versions.append(reader.version)
        assert versions[0] == versions[1]
        assert versions[2] == versions[3]
        assert versions[0] is None or versions[0] != versions[2]

    @pytest.mark.parametrize("offset", [0, 1, 5, 9])
    @pytest.mark.parametrize("length", [None, 0, 1, 5, 100])
    async def test_stream_yields_requested_range(self, storage, offset, length):
        content = b"0123456789"
        await storage.write("/object", content)
        expected = content[offset:] if length is None else content[offset : offset + length]
        async with storage.open_reader("/object", offset=offset, length=length) as reader:
            assert (reader.size, reader.length) == (10, len(expected))
            assert b"".join([piece async for piece in reader]) == expected
        async with storage.open_reader("/object", offset=offset, length=length) as reader:
            assert await reader.read() == expected

    @pytest.mark.parametrize("content", [b"", b"0123456789"], ids=len)
    @pytest.mark.parametrize("length", [None, 0, 5])
    async def test_offset_at_end_is_empty(self, storage, content, length):
        await storage.write("/object", content)
        async with storage.open_reader("/object", offset=len(content), length=length) as reader:
            assert (reader.size, reader.length) == (len(content), 0)
            assert [piece async for piece in reader if piece] == []

    async def test_offset_beyond_end_fails_on_entry(self, storage):
        await storage.write("/object", b"0123456789")
        with pytest.raises(RangeInvalidError) as caught:
            async with storage.open_reader("/object", offset=11):
                pytest.fail("the block was entered")
        assert caught.value.size == 10

    async def test_missing_object_fails_on_entry(self, storage):
        await storage.write("/a/b", b"content")
        for key in ("/missing", "/a", "/a/b/c"):
            with pytest.raises(ObjectNotFoundError) as caught:
                async with storage.open_reader(key, offset=5):
                    pytest.fail("the block was entered")
            assert caught.value.key == key

    async def test_file_begins_at_offset(self, storage):
        """If the reader has a file, the file yields the same bytes as the iteration."""
        await storage.write("/object", b"0123456789")
        async with storage.open_reader("/object", offset=3, length=4) as reader:
            copied = None
            if reader.file is not None:
                reader.file.seek(reader.offset)
                copied = reader.file.read(reader.length)
            streamed = b"".join([piece async for piece in reader])
        assert (copied or streamed, streamed) == (b"3456", b"3456")

    async def test_big_object_comes_in_bounded_pieces(self, storage):
        content = payload(BIG)
        async with storage.open_writer("/staged") as writer:
            await writer.write(content)
            await writer.commit("/big")
        async with storage.open_reader("/big", offset=5) as reader:
            pieces = [piece async for piece in reader]
        assert b"".join(pieces) == content[5:]
        assert max(map(len, pieces)) <= PIECE_BYTES_MAX

    @pytest.mark.parametrize(("offset", "length"), [(0, None), (5, None), (7, 8 * 1024 * 1024)])
    async def test_pipe_yields_the_same_bytes(self, storage, offset, length):
        """If the reader can fill a pipe, it does so with the bytes of the iteration."""
        content = payload(BIG)
        expected = content[offset:] if length is None else content[offset : offset + length]
        await storage.write("/big", content)
        async with storage.open_reader("/big", offset=offset, length=length) as reader:
            if reader.fill_pipe is None:
                found = b"".join([piece async for piece in reader])
            else:
                found = await read_through_pipe(reader)
        assert found == expected

    async def test_block_may_be_left_early(self, storage):
        content = payload(3 * 1024 * 1024)
        await storage.write("/object", content)
        async with storage.open_reader("/object") as reader:
            async for piece in reader:
                assert content.startswith(piece)
                break
        async with storage.open_reader("/object"):
            pass
        with pytest.raises(LookupError):
            async with storage.open_reader("/object"):
                raise LookupError
        assert await storage.read("/object") == content

    async def test_many_readers_run_at_once(self, storage):
        content = payload(300_000)
        await storage.write("/object", content)
        async with asyncio.TaskGroup() as tasks:
            reads = [tasks.create_task(read_stream(storage, "/object", offset=n * 1000)) for n in range(40)]
        assert [read.result() for read in reads] == [content[n * 1000 :] for n in range(40)]
