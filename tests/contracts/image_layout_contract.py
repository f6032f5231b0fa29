"""Contract of every image layout: written content is read back, and no partially written file remains."""

import pytest

from core.errors import ImageLayoutError, ObjectNotFoundError, ObjectTooLargeError
from tests.support.streams import payload

LAYER = "blobs/sha256/" + "a" * 64
LONG = "blobs/sha512/" + "b" * 128


async def pieces(*contents):
    for content in contents:
        yield content


async def broken():
    yield b"half"
    raise ValueError("the source failed")


async def read_all(layout, path):
    async with layout.open(path) as reader:
        content = b"".join([piece async for piece in reader])
        assert reader.size == len(content)
        return content


class ImageLayoutContract:
    """Subclasses define how a layout at `path` is written and read."""

    @pytest.fixture
    def path(self, tmp_path):
        raise NotImplementedError

    def writer(self, path):
        raise NotImplementedError

    def reader(self, path):
        raise NotImplementedError

    @pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 3 * 1024 * 1024 + 1])
    async def test_file_is_read_back(self, path, size):
        content = payload(size)
        async with self.writer(path) as layout:
            await layout.add("oci-layout", 2, pieces(b"{}"))
            await layout.add(LAYER, size, pieces(content[: size // 3], content[size // 3 :]))
            await layout.add(LONG, 4, pieces(b"long"))
            await layout.finish()
        async with self.reader(path) as layout:
            assert await layout.read("oci-layout", limit=2) == b"{}"
            assert await read_all(layout, LAYER) == content
            assert await read_all(layout, LONG) == b"long"

    async def test_missing_and_too_large_files_are_refused(self, path):
        async with self.writer(path) as layout:
            await layout.add("index.json", 3, pieces(b"abc"))
            await layout.finish()
        async with self.reader(path) as layout:
            with pytest.raises(ObjectTooLargeError):
                await layout.read("index.json", limit=2)
            for missing in ("oci-layout", LAYER):
                with pytest.raises(ObjectNotFoundError):
                    await layout.read(missing, limit=2)
                with pytest.raises(ObjectNotFoundError):
                    async with layout.open(missing):
                        pass

    async def test_new_layout_is_empty(self, path):
        async with self.writer(path) as layout:
            with pytest.raises(ObjectNotFoundError):
                await layout.read("index.json", limit=2)
            with pytest.raises(ObjectNotFoundError):
                async with layout.open(LAYER):
                    pass

    @pytest.mark.parametrize("size", [3, 5])
    async def test_wrong_size_is_refused(self, path, size):
        with pytest.raises(ImageLayoutError, match="received 4 bytes"):
            async with self.writer(path) as layout:
                await layout.add(LAYER, size, pieces(b"four"))
        assert not [file for file in path.parent.rglob("*") if file.is_file()]

    async def test_source_that_fails_leaves_no_file(self, path):
        with pytest.raises(ValueError, match="the source failed"):
            async with self.writer(path) as layout:
                await layout.add(LAYER, 4, broken())
        assert not [file for file in path.parent.rglob("*") if file.is_file()]

    async def test_missing_layout_is_an_error(self, path):
        with pytest.raises(ImageLayoutError, match="no such file or folder"):
            async with self.reader(path):
                pass
