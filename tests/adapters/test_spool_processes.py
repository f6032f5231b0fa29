"""A cold blob among real processes on one folder: one of them fetches; if it is killed, another one continues."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from core.store import layout
from tests.adapters.spool_child import CONTENT, DIGEST, NAME

pytestmark = pytest.mark.e2e

CHILD = Path(__file__).with_name("spool_child.py")
PATIENCE_SECONDS = 60


class Child:
    """A process with clients; its output goes to a file."""

    def __init__(self, root: Path, number: int, process: "subprocess.Popen[bytes]") -> None:
        self._output = root / f"output-{number}"
        self._process = process

    def numbers(self, event: str) -> list[str]:
        # The last line may not be whole yet.
        lines = self._output.read_text().split("\n")[:-1]
        return [line.split()[1] for line in lines if line.startswith(event)]

    def received(self) -> int:
        return max(map(int, self.numbers("received")), default=0)

    def wait_for(self, received: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.received() < received:
            assert self._process.poll() is None, self._output.read_text()
            assert time.monotonic() < deadline, self._output.read_text()
            time.sleep(0.01)

    def end(self) -> None:
        assert self._process.wait(PATIENCE_SECONDS) == 0, self._output.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)


@contextmanager
def child(root: Path, number: int, *, clients: int = 1) -> Iterator[Child]:
    """Yield a process that pulls the blob for some clients."""
    with (root / f"output-{number}").open("w") as output:
        process = subprocess.Popen([sys.executable, CHILD, root, str(clients)], stdout=output, stderr=output)
    try:
        yield Child(root, number, process)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


def allow(root: Path, pieces: int) -> None:
    """Let the upstream of each process send so many pieces in total."""
    new = root / "allowed.new"
    new.write_text(str(pieces))
    new.replace(root / "allowed")


def file_of(root: Path, key: str) -> Path:
    return Path(f"{root}/store{key}")


def stored(root: Path) -> bytes:
    return file_of(root, layout.blob_data(DIGEST)).read_bytes()


def spooled(root: Path) -> list[Path]:
    return list((root / "spool").iterdir())


def test_two_processes_fetch_once(tmp_path: Path) -> None:
    allow(tmp_path, 5)
    with ExitStack() as stack:
        children = [stack.enter_context(child(tmp_path, number, clients=5)) for number in range(2)]
        for each in children:
            each.wait_for(200_000)
        allow(tmp_path, 1000)
        for each in children:
            each.end()
            assert each.numbers("done") == [DIGEST.encoded] * 5
        assert sorted(number for each in children for number in each.numbers("asked")) == ["0", "1"]
    assert stored(tmp_path) == CONTENT
    assert file_of(tmp_path, layout.layer_link(NAME, DIGEST)).exists()
    assert spooled(tmp_path) == []


def test_killed_process_is_replaced_by_a_follower(tmp_path: Path) -> None:
    allow(tmp_path, 10)
    with child(tmp_path, 0) as first:
        first.wait_for(300_000)
        with child(tmp_path, 1, clients=3) as second:
            second.wait_for(300_000)
            first.kill()
            allow(tmp_path, 1000)
            second.end()
            assert second.numbers("done") == [DIGEST.encoded] * 3
            assert second.numbers("asked") == ["1"]
            # The bytes that the first process left were not fetched again.
            assert int(second.numbers("bytes")[0]) <= len(CONTENT) - 300_000
    assert first.numbers("done") == []
    assert stored(tmp_path) == CONTENT
    assert spooled(tmp_path) == []


def test_blob_is_continued_after_a_restart(tmp_path: Path) -> None:
    allow(tmp_path, 10)
    with child(tmp_path, 0) as first:
        first.wait_for(300_000)
        first.kill()
    assert not file_of(tmp_path, layout.blob_data(DIGEST)).exists()
    allow(tmp_path, 1000)
    with child(tmp_path, 1) as second:
        second.end()
        assert second.numbers("done") == [DIGEST.encoded]
        assert int(second.numbers("bytes")[0]) <= len(CONTENT) - 300_000
    assert stored(tmp_path) == CONTENT


def test_damaged_remains_of_a_killed_process_are_never_served(tmp_path: Path) -> None:
    """After a power cut, the file may have zeros instead of the bytes that were written."""
    allow(tmp_path, 10)
    with child(tmp_path, 0) as first:
        first.wait_for(300_000)
        first.kill()
    [path] = spooled(tmp_path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 1000)
        file.write(bytes(1000))
    allow(tmp_path, 1000)
    with child(tmp_path, 1) as second:
        with pytest.raises(AssertionError, match="does not match"):
            second.end()
        assert second.numbers("done") == []
    assert not file_of(tmp_path, layout.blob_data(DIGEST)).exists()
    with child(tmp_path, 2) as third:
        third.end()
        assert third.numbers("done") == [DIGEST.encoded]
