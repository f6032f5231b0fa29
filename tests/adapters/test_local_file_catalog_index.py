"""Behaviour of the file alone: crashes, other processes, manual edits, and errors at start."""

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.catalog_index.local_file import LocalFileCatalogIndex
from core.errors import CatalogLostError, StorageUnavailableError
from core.model.names import RepositoryName
from tests.contracts.catalog_index_contract import all_names, stream

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "repositories"


async def read(path: Path) -> list[str]:
    async with LocalFileCatalogIndex(path) as index:
        return await all_names(index)


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def add(path: Path, name: str) -> None:
    async with LocalFileCatalogIndex(path) as index:
        await index.add(RepositoryName(name))


async def test_file_has_one_name_per_line(path):
    path.touch()
    await add(path, "library/redis")
    await add(path, "a/b")
    assert path.read_bytes() == b"library/redis\na/b\n"


async def test_replaced_file_is_sorted(path):
    async with LocalFileCatalogIndex(path) as index:
        await index.replace_all(stream(["b", "a/b", "a"]))
    assert path.read_bytes() == b"a\na/b\nb\n"


async def test_file_of_the_seed_project_is_read_unchanged(path):
    path.write_bytes(b"a-b\na/b\nlibrary/redis\nlibrary/redis\n")
    assert await read(path) == ["a-b", "a/b", "library/redis"]
    assert path.read_bytes() == b"a-b\na/b\nlibrary/redis\nlibrary/redis\n"


async def test_lines_that_are_no_names_are_skipped(path):
    path.write_bytes(b"# mine\n\nUPPER/case\na..b\n../etc\nok\n\xff\xfe\n\x00\x00\nalso-ok\n")
    assert await read(path) == ["also-ok", "ok"]


@pytest.mark.parametrize("text", [b"a\r\nb\r\n", b"# mine\na\nUPPER/x\n", b"a\n\na\n", b"\xff\na\n"])
async def test_rebuild_drops_lines_that_are_no_names(path, text):
    """Also where the names are right already."""
    path.write_bytes(text)
    async with LocalFileCatalogIndex(path) as index:
        await index.replace_all(stream(["a"]))
    assert path.read_bytes() == b"a\n"


async def test_incomplete_last_line_is_no_name(path):
    """`library/red` may be the head of `library/redis`, whose push was never answered."""
    path.write_bytes(b"a\nlibrary/red")
    assert await read(path) == ["a"]


async def test_incomplete_last_line_does_not_damage_the_next_name(path):
    path.write_bytes(b"a\nlibrary/red")
    await add(path, "b")
    assert path.read_bytes() == b"a\nb\n"


async def test_file_is_changed_in_place(path):
    """It is mounted alone, so a new inode would stay inside the container."""
    path.touch()
    inode = path.stat().st_ino
    async with LocalFileCatalogIndex(path) as index:
        await index.add(RepositoryName("a"))
        await index.replace_all(stream(["b", "c"]))
        await index.remove(RepositoryName("b"))
    assert path.stat().st_ino == inode
    assert path.read_bytes() == b"c\n"


async def test_known_name_writes_nothing(path):
    path.touch()
    async with LocalFileCatalogIndex(path) as index:
        await index.add(RepositoryName("a"))
        before = path.stat().st_mtime_ns
        await index.add(RepositoryName("a"))
    assert path.stat().st_mtime_ns == before


async def test_manual_edit_is_visible_in_the_next_page(path):
    path.touch()
    async with LocalFileCatalogIndex(path) as index:
        await index.add(RepositoryName("a"))
        with path.open("ab") as file:
            file.write(b"typed/in\n")
        assert await all_names(index) == ["a", "typed/in"]
        path.write_bytes(b"b\n")
        assert await all_names(index) == ["b"]


async def test_set_of_the_same_length_is_visible_at_once(path):
    """Both files' sizes and, within one tick of the clock, times would be equal."""
    async with LocalFileCatalogIndex(path) as one, LocalFileCatalogIndex(path) as other:
        for round_ in range(30):
            await one.replace_all(stream([f"a{round_ % 10}"]))
            assert await all_names(other) == [f"a{round_ % 10}"]


async def test_locked_file_is_unavailable_after_the_wait(path):
    path.touch()
    async with LocalFileCatalogIndex(path, lock_seconds_max=0.05) as index:
        with path.open() as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            with pytest.raises(StorageUnavailableError, match="is locked by another process"):
                await index.add(RepositoryName("a"))
        await index.add(RepositoryName("a"))
        assert await all_names(index) == ["a"]


async def test_no_descriptor_is_left_open(path):
    async with LocalFileCatalogIndex(path) as index:
        await index.replace_all(stream([]))
        await index.add(RepositoryName("a"))
        before = count_descriptors()
        for number in range(50):
            await index.add(RepositoryName(f"a{number}"))
            await index.page(after="", limit=10)
        await index.replace_all(stream(["b"]))
        assert count_descriptors() == before


async def test_missing_folder_is_reported(tmp_path):
    with pytest.raises(StorageUnavailableError, match=r"nowhere/repositories .* does not exist: create its folder"):
        await read(tmp_path / "nowhere" / "repositories")


async def test_folder_in_place_of_the_file_is_reported(tmp_path):
    with pytest.raises(StorageUnavailableError, match=r"it is a folder .* with touch"):
        await read(tmp_path)


async def test_file_in_place_of_the_folder_is_reported(path):
    path.touch()
    with pytest.raises(StorageUnavailableError, match="folder is not a folder"):
        await read(path / "repositories")


async def test_unwritable_file_is_reported_and_has_no_pages(path):
    path.touch(mode=0o400)
    user = os.geteuid()
    # Root may write everything, so the block runs as another user.
    if user == 0:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(StorageUnavailableError, match=r"user \d+ may not read and write it"):
            await read(path)
    finally:
        os.seteuid(user)


async def test_missing_file_is_created_and_logged_once(path, caplog):
    async with LocalFileCatalogIndex(path) as index:
        await index.replace_all(stream(["a"]))
        await index.replace_all(stream(["b"]))
    assert path.read_bytes() == b"b\n"
    assert caplog.messages == [f"catalog file {path} was missing and was created; mount a file there to keep it"]


async def never() -> AsyncIterator[RepositoryName]:
    """Names that must not be read, because the scan would be in vain."""
    raise AssertionError("storage was scanned")
    yield RepositoryName("a")


async def test_file_that_cannot_be_created_is_reported_before_the_scan(tmp_path):
    async with LocalFileCatalogIndex(tmp_path / "nowhere" / "repositories") as index:
        with pytest.raises(CatalogLostError, match="does not exist: create its folder"):
            await index.replace_all(never())


async def test_file_is_created_where_a_link_leads(tmp_path, path):
    (tmp_path / "folder").mkdir()
    path.symlink_to("folder/names")
    async with LocalFileCatalogIndex(path) as index:
        await index.replace_all(stream(["b", "a"]))
        assert await all_names(index) == ["a", "b"]
    assert path.is_symlink()
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["names"]


async def test_file_that_appears_during_the_scan_stays_the_same_file(path):
    """It may have been mounted, or created by a registry of an older version."""

    async def create_meanwhile() -> AsyncIterator[RepositoryName]:
        yield RepositoryName("scanned")
        path.write_bytes(b"pushed\n")

    async with LocalFileCatalogIndex(path) as index:
        await index.replace_all(create_meanwhile())
        inode = path.stat().st_ino
        assert await all_names(index) == ["pushed", "scanned"]
    assert path.stat().st_ino == inode
    assert [each.name for each in path.parent.iterdir()] == [path.name]


async def test_what_a_killed_process_left_is_overwritten(path):
    path.with_name(f".{path.name}.unfinished").write_bytes(b"left/over-1\nleft/over-2\nleft/ov")
    async with LocalFileCatalogIndex(path) as index:
        await index.replace_all(stream(["a"]))
    assert path.read_bytes() == b"a\n"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("is_published", [True, False])
async def test_file_that_another_process_publishes_or_gives_up_is_the_only_one(path, is_published):
    unfinished = path.with_name(f".{path.name}.unfinished")
    async with LocalFileCatalogIndex(path) as index:
        with unfinished.open("w") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            replacing = asyncio.create_task(index.replace_all(stream(["a"])))
            await asyncio.sleep(0.05)
            holder.write("b\n")
            holder.flush()
            if is_published:
                unfinished.rename(path)
            else:
                unfinished.unlink()
        await replacing
        assert await all_names(index) == (["a", "b"] if is_published else ["a"])
    assert [each.name for each in path.parent.iterdir()] == [path.name]


async def test_file_that_another_process_creates_is_waited_for(path):
    unfinished = path.with_name(f".{path.name}.unfinished")
    async with LocalFileCatalogIndex(path, lock_seconds_max=0.05) as index:
        with unfinished.open("w") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            with pytest.raises(StorageUnavailableError, match="is locked by another process"):
                await index.replace_all(stream(["a"]))
            assert unfinished.exists()
        await index.replace_all(stream(["a"]))
        assert await all_names(index) == ["a"]


async def test_closed_index_is_unavailable(path):
    index = LocalFileCatalogIndex(path)
    with pytest.raises(StorageUnavailableError, match="is not open"):
        await index.page(after="", limit=1)


PUSHER = """
import asyncio, sys
from pathlib import Path
from adapters.catalog_index.local_file import LocalFileCatalogIndex
from core.model.names import RepositoryName

async def main(path):
    async with LocalFileCatalogIndex(Path(path)) as index:
        for number in range(100):
            await index.add(RepositoryName(f"team/app-{number}"))

asyncio.run(main(sys.argv[1]))
"""

REPLACER = """
import asyncio, sys
from pathlib import Path
from adapters.catalog_index.local_file import LocalFileCatalogIndex
from core.model.names import RepositoryName

async def names(team):
    for number in range(2000):
        yield RepositoryName(f"team-{team}/app-{number}")

async def main(path):
    async with LocalFileCatalogIndex(Path(path)) as index:
        team = 0
        while True:
            await index.replace_all(names(team))
            print("ready", flush=True)
            team = 1 - team

asyncio.run(main(sys.argv[1]))
"""


async def test_processes_that_push_the_same_names_write_each_once(path):
    path.touch()
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", PUSHER, str(path), cwd=ROOT) for _ in range(3)
    ]
    assert [await process.wait() for process in processes] == [0, 0, 0]
    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(f"team/app-{number}" for number in range(100))


@pytest.mark.parametrize("pause", [0.0, 0.003, 0.007, 0.012])
async def test_kill_during_replacement_leaves_one_complete_set(path, pause):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", REPLACER, str(path), cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(3):
        await process.stdout.readline()
    await asyncio.sleep(pause)
    process.kill()
    await process.communicate()
    names = await read(path)
    assert len(names) == 2000
    assert len({name.partition("/")[0] for name in names}) == 1
    await add(path, "after/the-crash")
    assert len(path.read_text().splitlines()) == 2001
