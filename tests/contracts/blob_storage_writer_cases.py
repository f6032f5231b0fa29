"""Staged objects: `open_writer`, with resume, commit, discard and interruption."""

import asyncio
from contextlib import nullcontext
from itertools import pairwise

import pytest

from core.errors import ObjectBusyError, ObjectNotFoundError
from tests.support.streams import collect, commit, payload, read_stream, stage

STAGED = "/r/_uploads/1/data"
TARGET = "/blobs/ab/data"
BIG = 9 * 1024 * 1024 + 7


class WriterCases:
    LOCKS_ACROSS_INSTANCES: bool
    TAKES_FROM_THREADS: bool

    async def test_commit_makes_bytes_readable(self, storage):
        async with storage.open_writer(STAGED) as writer:
            assert writer.size == 0
            await writer.write(b"abc")
            await writer.write(bytearray(b"def"))
            await writer.write(memoryview(b"xghix")[1:4])
            await writer.write(b"")
            assert writer.size == 9
            await writer.commit(TARGET)
            assert await storage.read(TARGET) == b"abcdefghi"
        assert await storage.read(TARGET) == b"abcdefghi"
        assert (await storage.stat(TARGET)).size == 9

    async def test_nothing_is_visible_before_commit(self, storage):
        async with storage.open_writer(STAGED) as writer:
            await writer.write(payload(100_000))
            with pytest.raises(ObjectNotFoundError):
                await storage.read(TARGET)
        with pytest.raises(ObjectNotFoundError):
            await storage.stat(TARGET)
        assert await collect(storage.list_children("/blobs")) == []

    async def test_commit_empties_staged_key(self, storage):
        await stage(storage, STAGED, b"abc")
        await commit(storage, STAGED, TARGET)
        async with storage.open_writer(STAGED, resume=True) as writer:
            assert writer.size == 0
            await writer.discard()
        assert await storage.read(TARGET) == b"abc"

    async def test_commit_of_nothing_is_empty_object(self, storage):
        async with storage.open_writer(STAGED) as writer:
            await writer.commit(TARGET)
        assert await storage.read(TARGET) == b""
        assert (await storage.stat(TARGET)).size == 0

    async def test_commit_replaces_object(self, storage):
        await storage.write(TARGET, b"an older and longer content")
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"new")
            await writer.commit(TARGET)
        assert await storage.read(TARGET) == b"new"

    async def test_commit_then_writes_small_objects(self, storage):
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"abc")
            await writer.commit(TARGET, then=[("/links/a/link", b"first"), ("/links/b/link", b"second")])
        assert await storage.read(TARGET) == b"abc"
        assert await storage.read("/links/a/link") == b"first"
        assert await storage.read("/links/b/link") == b"second"

    async def test_commit_that_fails_writes_no_small_objects(self, storage):
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"abc")
            with pytest.raises(ValueError, match="not a storage key"):
                await writer.commit("/a/../b", then=[("/links/a/link", b"first")])
            await writer.discard()
        with pytest.raises(ObjectNotFoundError):
            await storage.read("/links/a/link")

    async def test_commit_is_atomic_under_readers(self, storage):
        contents = [payload(200_000, seed) for seed in range(2)]
        await storage.write(TARGET, contents[0])
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set():
                assert await read_stream(storage, TARGET) in contents
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            for turn in range(10):
                await stage(storage, STAGED, contents[turn % 2])
                await commit(storage, STAGED, TARGET)
            done.set()

    async def test_resume_continues_at_the_end_of_the_last_block(self, storage):
        assert await stage(storage, STAGED, b"abc") == 3
        assert await stage(storage, STAGED, b"def", resume=True) == 6
        assert await stage(storage, STAGED, resume=True) == 6
        async with storage.open_writer(STAGED, resume=True) as writer:
            assert writer.size == 6
            await writer.write(b"ghi")
            await writer.commit(TARGET)
        assert await storage.read(TARGET) == b"abcdefghi"

    async def test_resume_continues_in_other_instance(self, storage, reopen):
        first, second = payload(6 * 1024 * 1024, 1), payload(6 * 1024 * 1024 + 3, 2)
        await stage(storage, STAGED, first)
        other = await reopen()
        async with other.open_writer(STAGED, resume=True) as writer:
            assert writer.size == len(first)
            await writer.write(second)
        await commit(storage, STAGED, TARGET)
        assert await read_stream(other, TARGET) == first + second

    async def test_staged_size_is_returned(self, storage, reopen):
        other = await reopen()
        assert await storage.staged_size(STAGED) == 0
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"abc")
        assert await storage.staged_size(STAGED) == 3
        async with storage.open_writer(STAGED, resume=True) as writer:
            assert await storage.staged_size(STAGED) == 3
            await writer.write(payload(6 * 1024 * 1024))
        assert await other.staged_size(STAGED) == 6 * 1024 * 1024 + 3
        async with storage.open_writer(STAGED, resume=True) as writer:
            await writer.commit(TARGET)
        assert await storage.staged_size(STAGED) == 0
        await stage(storage, STAGED, b"abc")
        await storage.delete_tree("/r")
        assert await storage.staged_size(STAGED) == 0

    async def test_resume_with_nothing_staged_starts_empty(self, storage):
        async with storage.open_writer(STAGED, resume=True) as writer:
            assert writer.size == 0
            await writer.write(b"abc")
            await writer.commit(TARGET)
        assert await storage.read(TARGET) == b"abc"

    async def test_without_resume_starts_empty(self, storage):
        await stage(storage, STAGED, b"something longer")
        assert await stage(storage, STAGED, b"abc") == 3
        await commit(storage, STAGED, TARGET)
        assert await storage.read(TARGET) == b"abc"

    @pytest.mark.parametrize("size", [0, 3, 300_000])
    async def test_first_writer_commits(self, storage, size):
        content = payload(size)
        await storage.write("/r/_uploads/1/startedat", b"now")
        async with storage.open_writer(STAGED, is_first=True, witness="/r/_uploads/1/startedat") as writer:
            assert writer.size == 0
            await writer.write(content)
            assert writer.size == size
            await writer.commit(TARGET)
        assert await storage.read(TARGET) == content

    @pytest.mark.parametrize("size", [3, 300_000])
    async def test_first_writer_leaves_bytes_for_the_next(self, storage, reopen, size):
        content = payload(size)
        async with storage.open_writer(STAGED, is_first=True) as writer:
            await writer.write(content)
        other = await reopen()
        async with other.open_writer(STAGED, resume=True) as resumed:
            assert (resumed.size, resumed.stamp) == (size, writer.stamp)
            await resumed.commit(TARGET)
        assert await storage.read(TARGET) == content

    async def test_first_writer_without_content_leaves_nothing(self, storage):
        async with storage.open_writer(STAGED, is_first=True):
            pass
        async with storage.open_writer(STAGED, is_first=True) as writer:
            await writer.write(b"abc")
            await writer.discard()
        assert await storage.staged_size(STAGED) == 0

    @pytest.mark.parametrize("size", [3, 300_000])
    async def test_first_writer_does_not_continue_an_earlier_upload(self, storage, reopen, size):
        async with storage.open_writer(STAGED) as before:
            await before.write(payload(size, 1))
        other = await reopen()
        try:
            async with other.open_writer(STAGED, is_first=True) as writer:
                await writer.write(payload(size, 2))
        except ObjectBusyError:
            assert await storage.staged_size(STAGED) == size
        else:
            assert writer.stamp is not None
            assert writer.stamp != before.stamp

    @pytest.mark.parametrize("size", [3, 300_000])
    async def test_first_writer_without_its_witness_does_not_continue_an_earlier_upload(self, storage, reopen, size):
        async with storage.open_writer(STAGED) as before:
            await before.write(payload(size, 1))
        await storage.delete_tree("/r")
        other = await reopen()
        try:
            async with other.open_writer(STAGED, is_first=True, witness="/r/_uploads/1/startedat") as writer:
                await writer.write(payload(size, 2))
        except ObjectNotFoundError:
            assert await storage.staged_size(STAGED) == 0
        else:
            assert writer.stamp is not None
            assert writer.stamp != before.stamp

    async def test_many_small_blocks_join(self, storage):
        for number in range(20):
            await stage(storage, STAGED, f"{number},".encode(), resume=True)
        await commit(storage, STAGED, TARGET)
        assert await storage.read(TARGET) == "".join(f"{number}," for number in range(20)).encode()

    async def test_big_object_keeps_order(self, storage):
        content = payload(BIG)
        async with storage.open_writer(STAGED) as writer:
            for start in range(0, BIG, 1_000_003):
                await writer.write(content[start : start + 1_000_003])
            assert writer.size == BIG
            await writer.commit(TARGET)
        assert (await storage.stat(TARGET)).size == BIG
        assert await read_stream(storage, TARGET) == content

    async def test_big_object_joins_blocks(self, storage):
        content = payload(BIG)
        cuts = [0, 3, 5 * 1024 * 1024 + 1, 5 * 1024 * 1024 + 2, BIG]
        for start, end in pairwise(cuts):
            assert await stage(storage, STAGED, content[start:end], resume=True) == end
        await commit(storage, STAGED, TARGET)
        assert await read_stream(storage, TARGET) == content

    async def test_chunk_may_be_reused_after_write(self, storage):
        buffer = bytearray(b"first")
        async with storage.open_writer(STAGED) as writer:
            await writer.write(buffer)
            buffer[:] = b"other"
            await writer.write(buffer)
            await writer.commit(TARGET)
        assert await storage.read(TARGET) == b"firstother"

    async def test_pieces_from_threads_keep_their_order(self, storage):
        pieces = [payload(700_000, seed) for seed in range(3)]
        async with storage.open_writer(STAGED) as writer:
            assert (writer.append_now is not None) == self.TAKES_FROM_THREADS
            await writer.write(b"first")
            for piece in pieces:
                if writer.append_now is not None:
                    assert await writer.make_room() > 0
                    await asyncio.to_thread(writer.append_now, memoryview(bytearray(piece)))
                else:
                    await writer.write(piece)
            await writer.write(b"last")
            assert writer.size == 9 + 3 * 700_000
            await writer.commit(TARGET)
        assert await read_stream(storage, TARGET) == b"".join([b"first", *pieces, b"last"])

    @pytest.mark.parametrize("staged", [0, 1, 6 * 1024 * 1024])
    async def test_long_content_comes_from_threads(self, storage, staged):
        content = payload(staged + BIG)
        if staged:
            await stage(storage, STAGED, content[:staged])
        async with storage.open_writer(STAGED, resume=True) as writer:
            while self.TAKES_FROM_THREADS and writer.size < len(content):
                room = await writer.make_room()
                assert room > 0
                # The last piece of a turn may be longer than the room.
                for size in (room // 2 + 1, room // 2 + 1):
                    piece = bytearray(content[writer.size : writer.size + min(size, len(content))])
                    await asyncio.to_thread(writer.append_now, memoryview(piece))
            await writer.write(content[writer.size :])
            await writer.commit(TARGET)
        assert await read_stream(storage, TARGET) == content

    async def test_error_in_block_keeps_bytes(self, storage):
        async def upload() -> None:
            async with storage.open_writer(STAGED) as writer:
                await writer.write(b"abc")
                raise LookupError

        with pytest.raises(LookupError):
            await upload()
        async with storage.open_writer(STAGED, resume=True) as writer:
            assert writer.size == 3
            await writer.commit(TARGET)
        assert await storage.read(TARGET) == b"abc"

    async def test_cancelled_block_keeps_bytes(self, storage):
        written = asyncio.Event()

        async def upload() -> None:
            async with storage.open_writer(STAGED) as writer:
                await writer.write(b"abc")
                written.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(upload())
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ObjectNotFoundError):
            await storage.stat(TARGET)
        await stage(storage, STAGED, b"def", resume=True)
        await commit(storage, STAGED, TARGET)
        assert await storage.read(TARGET) == b"abcdef"

    @pytest.mark.parametrize("pauses", range(6))
    async def test_cancelled_write_keeps_start(self, storage, pauses):
        """Whenever the cancellation occurs, the kept bytes are a prefix of the sent ones, and the key is not locked."""
        chunks = [payload(700_000, seed) for seed in range(12)]

        async def upload() -> None:
            async with storage.open_writer(STAGED) as writer:
                for chunk in chunks:
                    await writer.write(chunk)
                    await asyncio.sleep(0)

        task = asyncio.create_task(upload())
        for _ in range(pauses * 2 + 1):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with storage.open_writer(STAGED, resume=True) as writer:
            kept = b"".join([piece async for piece in writer.content()])
            assert len(kept) == writer.size
            await writer.discard()
        assert b"".join(chunks).startswith(kept)

    async def test_content_returns_all_bytes(self, storage):
        first, second = payload(5 * 1024 * 1024 + 9, 1), payload(70_000, 2)
        await stage(storage, STAGED, first)
        async with storage.open_writer(STAGED, resume=True) as writer:
            await writer.write(second)
            assert b"".join([piece async for piece in writer.content()]) == first + second
            assert writer.size == len(first) + len(second)
            await writer.commit(TARGET)
        assert await read_stream(storage, TARGET) == first + second

    async def test_content_then_discard_leaves_nothing(self, storage):
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"abc")
            assert b"".join([piece async for piece in writer.content()]) == b"abc"
            await writer.discard()
        assert await stage(storage, STAGED, resume=True) == 0

    async def test_content_of_nothing_is_empty(self, storage):
        async with storage.open_writer(STAGED) as writer:
            assert b"".join([piece async for piece in writer.content()]) == b""

    async def test_content_then_leaving_keeps_bytes(self, storage):
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"abc")
            async for _ in writer.content():
                break
        assert await stage(storage, STAGED, b"def", resume=True) == 6
        await commit(storage, STAGED, TARGET)
        assert await storage.read(TARGET) == b"abcdef"

    async def test_discard_is_idempotent(self, storage):
        await stage(storage, STAGED, b"abc")
        async with storage.open_writer(STAGED, resume=True) as writer:
            await writer.write(b"def")
            await writer.discard()
            await writer.discard()
        async with storage.open_writer(STAGED, resume=True) as writer:
            assert writer.size == 0
            await writer.discard()

    async def test_discard_does_not_undo_commit(self, storage):
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"abc")
            await writer.commit(TARGET)
            await writer.discard()
            await writer.discard()
        assert await storage.read(TARGET) == b"abc"

    async def test_second_writer_of_key_is_refused(self, storage):
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"abc")
            for resume in (False, True):
                with pytest.raises(ObjectBusyError) as caught:
                    async with storage.open_writer(STAGED, resume=resume):
                        pytest.fail("the block was entered")
                assert caught.value.key == STAGED
            await writer.write(b"def")
            await writer.commit(TARGET)
        assert await storage.read(TARGET) == b"abcdef"
        await stage(storage, STAGED, b"free again")

    async def test_second_writer_in_other_instance_is_refused(self, storage, reopen):
        other = await reopen()
        busy = pytest.raises(ObjectBusyError) if self.LOCKS_ACROSS_INSTANCES else nullcontext()
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"abc")
            with busy:
                async with other.open_writer(STAGED, resume=True):
                    pass
        assert await stage(other, STAGED, resume=True) == 3

    async def test_writers_of_many_keys_run_at_once(self, storage):
        contents = [payload(400_000 + seed, seed) for seed in range(8)]

        async def upload(number: int) -> None:
            async with storage.open_writer(f"/uploads/{number}/data") as writer:
                for start in range(0, len(contents[number]), 100_000):
                    await writer.write(contents[number][start : start + 100_000])
                await writer.commit(f"/blobs/{number}/data")

        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(upload(number))
        for number in range(8):
            assert await read_stream(storage, f"/blobs/{number}/data") == contents[number]

    async def test_two_uploads_commit_to_one_target(self, storage):
        """Two clients that push the same blob at the same moment both succeed."""
        content = payload(300_000)

        async def upload(number: int) -> None:
            async with storage.open_writer(f"/uploads/{number}/data") as writer:
                await writer.write(content)
                await writer.commit(TARGET)

        async with asyncio.TaskGroup() as tasks:
            for number in range(6):
                tasks.create_task(upload(number))
        assert await read_stream(storage, TARGET) == content
