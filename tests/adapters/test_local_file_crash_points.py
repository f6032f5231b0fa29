"""A replacement of the file is broken off after every byte: what remains is the old set or the new."""

from pathlib import Path

import pytest

from adapters.catalog_index import name_file
from adapters.catalog_index.name_file import NameFile

OLD = ["a", "b/c", "library/redis"]
SETS = {
    "shorter": ["b/c"],
    "longer": ["a", "b/c", "d-e", "library/nginx", "library/redis", "z" * 40],
    "other": ["x", "y/z", "library/rediz"],
    "empty": [],
}


class KilledError(BaseException):
    """Stands for SIGKILL: no `except OSError` tidies up behind it."""


class DyingDisk:
    """Passes a number of bytes, where a truncation counts as one, and then kills."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._write, self._truncate = name_file.write_all, name_file.truncate_visibly

    def write(self, descriptor: int, data: bytes) -> None:
        self._write(descriptor, data[: self.budget])
        self._spend(len(data))

    def truncate(self, descriptor: int, size: int, before: int) -> None:
        self._spend(1)
        self._truncate(descriptor, size, before)

    def _spend(self, amount: int) -> None:
        if amount > self.budget:
            raise KilledError
        self.budget -= amount


class FullDisk(DyingDisk):
    """Refuses bytes beyond its budget, as a full disk does."""

    def _spend(self, amount: int) -> None:
        if amount > self.budget:
            raise OSError(28, "No space left on device")
        self.budget -= amount


def use(disk: DyingDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_file, "write_all", disk.write)
    monkeypatch.setattr(name_file, "truncate_visibly", disk.truncate)


def names_in(path: Path) -> list[str]:
    return list(NameFile(path, lock_seconds_max=1).names())


def count_until_whole(path: Path, start: bytes, new: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Break a replacement off at every point; return how many points there were."""
    for budget in range(5000):
        path.write_bytes(start)
        before = names_in(path)
        with monkeypatch.context() as patch:
            use(DyingDisk(budget), patch)
            try:
                NameFile(path, lock_seconds_max=1).replace(lambda _: new)
            except KilledError:
                pass
            else:
                return budget
        after = names_in(path)
        assert after in (before, new), f"killed after {budget} bytes"
        # The next change begins by tidying up.
        NameFile(path, lock_seconds_max=1).add("next")
        assert path.read_text().count("#") == 0
        assert names_in(path) == sorted([*after, "next"])
    raise AssertionError("the replacement never ended")


@pytest.mark.parametrize("new", SETS.values(), ids=SETS)
@pytest.mark.parametrize("torn", [b"", b"library/red"], ids=["whole", "torn"])
def test_replacement_leaves_old_or_new_set(tmp_path, monkeypatch, new, torn):
    start = "".join(f"{name}\n" for name in OLD).encode() + torn
    new = sorted(new)
    assert count_until_whole(tmp_path / "names", start, new, monkeypatch) > 80


def test_replacement_after_a_broken_one_leaves_old_or_new_set(tmp_path, monkeypatch):
    path = tmp_path / "names"
    path.write_text("a\nb\n")
    with monkeypatch.context() as patch:
        use(DyingDisk(91), patch)
        with pytest.raises(KilledError):
            NameFile(path, lock_seconds_max=1).replace(lambda _: ["c", "d", "e"])
    assert b"#replacement" in path.read_bytes()
    assert count_until_whole(path, path.read_bytes(), ["f", "g"], monkeypatch) > 80


def test_replacement_advances_the_modification_time(tmp_path):
    with (tmp_path / "names").open("w") as file:
        for _ in range(20):
            before = (tmp_path / "names").stat().st_mtime_ns
            name_file.truncate_visibly(file.fileno(), 0, before)
            assert (tmp_path / "names").stat().st_mtime_ns != before


@pytest.mark.parametrize("budget", [0, 3, 60, 85])
def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch, budget):
    path = tmp_path / "names"
    path.write_text("a\nb\n")
    with monkeypatch.context() as patch:
        use(FullDisk(budget), patch)
        with pytest.raises(OSError, match="No space left"):
            NameFile(path, lock_seconds_max=1).replace(lambda _: ["c", "d/e", "f"])
    assert path.read_text() == "a\nb\n"


@pytest.mark.parametrize("budget", [0, 4])
def test_full_disk_leaves_no_partial_line(tmp_path, monkeypatch, budget):
    path = tmp_path / "names"
    path.write_text("a\n")
    with monkeypatch.context() as patch:
        use(FullDisk(budget), patch)
        with pytest.raises(OSError, match="No space left"):
            NameFile(path, lock_seconds_max=1).add("library/redis")
    assert path.read_text() == "a\n"
