"""Hostile and foreign layouts: nothing leads out of them, nothing is held that they merely announce."""

import io
import os
import tarfile

import pytest

from adapters.image_layout.archive import ArchiveImageLayout, ArchiveImageLayoutWriter
from adapters.image_layout.folder import FolderImageLayout
from adapters.image_layout.tar_headers import BLOCK, render_header
from core.errors import ImageLayoutError
from tests.support.streams import payload

LAYER = "blobs/sha256/" + "a" * 64
LONG = "blobs/sha512/" + "b" * 128


def archive(path, *members, form=tarfile.PAX_FORMAT):
    """Write an archive of `(name, content)` and ready `TarInfo`s."""
    with tarfile.open(path, "w", format=form) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            entry = tarfile.TarInfo(member[0])
            entry.size = len(member[1])
            tar.addfile(entry, io.BytesIO(member[1]))
    return path


def special(name, kind, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


async def read(path, name, limit=1024):
    async with ArchiveImageLayout(path) as layout:
        return await layout.read(name, limit=limit)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("prefix", ["", "./"])
async def test_archives_of_all_forms_are_read(tmp_path, form, prefix):
    # The oldest form has no space for a name of this length.
    layer = LAYER if form == tarfile.USTAR_FORMAT else LONG
    members = [
        special(f"{prefix}blobs", tarfile.DIRTYPE),
        (f"{prefix}index.json", b"first"),
        (prefix + layer, b"long"),
        (f"{prefix}index.json", b"last"),
    ]
    path = archive(tmp_path / "layout.tar", *members, form=form)
    assert await read(path, "index.json") == b"last"
    assert await read(path, layer) == b"long"


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (("/etc/passwd", b"x"), "contains a path outside of it"),
        (("../index.json", b"x"), "contains a path outside of it"),
        (("blobs/../../x", b"x"), "contains a path outside of it"),
        (special(LAYER, tarfile.SYMTYPE, "/etc/passwd"), "a link"),
        (special(LAYER, tarfile.LNKTYPE, "index.json"), "a link"),
        (special(LAYER, tarfile.FIFOTYPE), "an entry of an unsupported type"),
        (special(LAYER, tarfile.CHRTYPE), "an entry of an unsupported type"),
    ],
    ids=["absolute", "parent", "inner-parent", "symlink", "hardlink", "fifo", "device"],
)
async def test_entry_outside_an_archive_is_refused(tmp_path, member, told):
    path = archive(tmp_path / "layout.tar", ("oci-layout", b"{}"), member)
    with pytest.raises(ImageLayoutError, match=told):
        await read(path, "oci-layout")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a tar archive"),
        (b"x" * 100, "not a tar archive"),
        (b"x" * 2048, "not a tar archive"),
        (b"\x1f\x8b" + b"x" * 600, "is compressed"),
        (render_header("index.json", 10**6) + b"x" * BLOCK, "is truncated"),
        (render_header("index.json", 10**15), "is truncated"),
        (render_header("index.json", 0) + b"x" * BLOCK, "is damaged"),
        (render_header("index.json", 0)[:124] + b"-0000000001\0" + b"\0" * 376, "not a tar archive"),
    ],
    ids=["empty", "short", "text", "gzip", "cut", "petabyte", "damaged", "negative"],
)
async def test_file_that_is_no_archive_is_refused(tmp_path, content, told):
    path = tmp_path / "layout.tar"
    path.write_bytes(content)
    with pytest.raises(ImageLayoutError, match=told):
        await read(path, "index.json")


async def test_huge_extended_header_is_not_read_into_memory(tmp_path):
    path = tmp_path / "layout.tar"
    header = bytearray(render_header("pax", 2**30))
    header[156:157] = b"x"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(header)
    os.truncate(path, 2**30 + 2 * BLOCK)
    with pytest.raises(ImageLayoutError, match="has an extended header of 1073741824 bytes"):
        await read(path, "index.json")


def test_long_names_and_sizes_are_read_by_others():
    for name, size in [("index.json", 5), (LONG, 5), (LAYER, 9 * 2**30), (LONG, 2**40)]:
        block = render_header(name, size)
        with tarfile.open(fileobj=io.BytesIO(block + bytes(2 * BLOCK))) as tar:
            entry = tar.next()
            assert entry is not None
        assert (entry.name, entry.size, entry.mtime, entry.uid) == (name, size, 0, 0)


async def test_old_archive_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "layout.tar"
    path.write_bytes(b"before")

    async def pieces():
        yield b"x"
        assert path.read_bytes() == b"before"

    async with ArchiveImageLayoutWriter(path) as layout:
        await layout.add("index.json", 1, pieces())
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("linked", ["index.json", "blobs", "blobs/sha256", LAYER])
async def test_links_in_a_folder_are_not_followed(tmp_path, linked):
    real = tmp_path / "real"
    for name in ("index.json", LAYER):
        (real / name).parent.mkdir(parents=True, exist_ok=True)
        (real / name).write_bytes(payload(10))
    root = tmp_path / "layout"
    (root / linked).parent.mkdir(parents=True)
    (root / linked).symlink_to(real / linked)
    async with FolderImageLayout(root) as layout:
        with pytest.raises(ImageLayoutError, match="not followed"):
            await layout.read("index.json" if linked == "index.json" else LAYER, limit=100)


async def test_fifo_in_a_folder_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "index.json")
    async with FolderImageLayout(tmp_path) as layout:
        with pytest.raises(ImageLayoutError, match="not a regular file"):
            await layout.read("index.json", limit=100)


async def test_writing_through_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "layout"
    root.mkdir()
    (root / "blobs").symlink_to(tmp_path / "elsewhere")

    async def pieces():
        yield b"x"

    async with FolderImageLayout(root) as layout:
        with pytest.raises(ImageLayoutError, match="not followed"):
            await layout.add(LAYER, 1, pieces())
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_archive_with_too_many_entries_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("adapters.image_layout.tar_headers._ENTRIES_MAX", 3)
    path = archive(tmp_path / "layout.tar", *[(f"file-{number}", b"") for number in range(4)])
    with pytest.raises(ImageLayoutError, match="more than 3 entries"):
        await read(path, "file-0")


async def test_archive_without_end_blocks_is_read(tmp_path):
    path = tmp_path / "layout.tar"
    path.write_bytes(render_header("index.json", 5) + b"hello".ljust(BLOCK, b"\0"))
    assert await read(path, "index.json") == b"hello"


@pytest.mark.parametrize("size", [b"\x80" + (5).to_bytes(11, "big"), b"\xff" * 12, b"99999999999\0"])
async def test_sizes_in_other_forms_are_understood_or_refused(tmp_path, size):
    header = bytearray(render_header("index.json", 5))
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "layout.tar"
    path.write_bytes(bytes(header) + b"hello".ljust(BLOCK, b"\0"))
    if size.startswith(b"\x80"):
        assert await read(path, "index.json") == b"hello"
    else:
        with pytest.raises(ImageLayoutError, match="has no size"):
            await read(path, "index.json")


async def test_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    path = archive(tmp_path / "layout.tar", ("index.json", payload(2 * 1024 * 1024)))
    async with ArchiveImageLayout(path) as layout, layout.open("index.json") as reader:
        pieces = aiter(reader)
        await anext(pieces)
        os.truncate(path, 1024)
        with pytest.raises(ImageLayoutError, match="bytes are missing at the end"):
            await anext(pieces)


async def test_failing_disk_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageLayoutError, match="Not a directory"):
        async with FolderImageLayout(tmp_path / "file" / "layout", creates=True):
            pass
