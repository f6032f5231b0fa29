"""A reload applies a new version completely, or keeps the old one and logs the reason."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.loader import load
from config.settings import LogLevel, Settings
from entrypoints.process.reload import Reloader
from tests.support.configuration import MINIMAL

INTERVAL_SECONDS = 0.02


class Part:
    """A part that counts its reloads, and fails on request."""

    def __init__(self) -> None:
        self.count = 0
        self.failure: Exception | None = None

    async def reload(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.count += 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yml"
    path.write_text(MINIMAL)
    return path


@pytest.fixture
def reloader(path: Path) -> Reloader:
    return Reloader(load(str(path), environ={}), lambda: load(str(path), environ={}))


@pytest.fixture
async def running(reloader: Reloader, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Reloader]:
    caplog.set_level(logging.INFO)
    task = asyncio.create_task(reloader.run(INTERVAL_SECONDS))
    # The first content of a file is no change.
    await until(lambda: reloader.watch.seen)
    yield reloader
    task.cancel()
    await asyncio.wait([task])


def write(path: Path, text: str) -> None:
    """Have a text in a file at once: one that is written piece by piece may be seen in between."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the awaited state belongs to the code under test
            await asyncio.sleep(INTERVAL_SECONDS)


async def test_changed_file_is_applied(running: Reloader, path: Path) -> None:
    taken: list[Settings] = []
    running.appliers.append(taken.append)
    write(path, MINIMAL + "log: {level: debug}\n")
    await until(lambda: taken)
    assert running.settings.log.level is LogLevel.DEBUG
    await asyncio.sleep(5 * INTERVAL_SECONDS)
    assert len(taken) == 1


async def test_request_reloads_everything(running: Reloader, caplog: pytest.LogCaptureFixture) -> None:
    part = Part()
    running.register("part", part, files=tuple)
    running.ask()
    await until(lambda: part.count)
    assert [record.message for record in caplog.records] == ["configuration reloaded", "part reloaded"]


async def test_warnings_are_logged_again(running: Reloader, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, MINIMAL + "htp: {}\n")
    await until(lambda: any("`htp` is not a known key" in record.message for record in caplog.records))


async def test_only_one_process_logs_a_reload(running: Reloader, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    running.speaks = False
    caplog.set_level(logging.DEBUG)
    write(path, MINIMAL + "log: {level: loud}\n")
    await until(lambda: any("not reloaded" in record.message for record in caplog.records))
    assert {record.levelno for record in caplog.records if record.name == "entrypoints.process.reload"} == {
        logging.DEBUG
    }


async def test_wrong_configuration_is_refused_once(
    running: Reloader, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = running.settings
    write(path, MINIMAL + "log: {level: loud, formatter: xml}\n")
    await until(lambda: caplog.records)
    await asyncio.sleep(5 * INTERVAL_SECONDS)
    [record] = caplog.records
    assert record.message.startswith("configuration not reloaded, the previous state stays in use: ")
    assert "`log.level` must be one of" in record.message
    assert "`log.formatter` must be one of" in record.message
    assert running.settings is before


async def test_part_is_reloaded_when_its_own_files_change(
    running: Reloader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, part = tmp_path / "users", Part()
    write(file, "one")
    running.register("users", part, files=lambda: [str(file)])
    await until(lambda: str(file) in running.watch.seen)
    write(file, "two")
    await until(lambda: part.count)
    assert [record.message for record in caplog.records] == ["users reloaded"]


@pytest.mark.parametrize("failure", [ConfigError(["users: line 3 is wrong"]), ZeroDivisionError()])
async def test_failing_part_stops_nothing(
    running: Reloader, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    bad, good = Part(), Part()
    bad.failure = failure
    running.register("bad", bad, files=tuple)
    running.register("good", good, files=tuple)
    running.ask()
    await until(lambda: good.count)
    assert any(
        record.message.startswith("bad not reloaded, the previous state stays in use") for record in caplog.records
    )
    bad.failure = None
    running.ask()
    await until(lambda: bad.count)


async def test_keys_that_need_a_restart_are_named(
    running: Reloader, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running.live_keys.append("auth.")
    write(
        path,
        "version: 0.1\n"
        "storage: {filesystem: {rootdirectory: /x}, maintenance: {readonly: {enabled: true}}}\n"
        "http: {addr: ':5001', secret: sixteen_bytes_or_more, headers: {X: [a]}, tls: {certificate: c, key: k}}\n"
        "log: {level: warn}\n",
    )
    await until(lambda: any("next start" in record.message for record in caplog.records))
    [line] = [record.message for record in caplog.records if "next start" in record.message]
    assert line == (
        "these keys take effect at the next start: "
        "http.addr, http.secret, http.tls, storage.filesystem.rootdirectory, storage.inmemory"
    )


async def test_names_of_certificates_need_a_restart(
    running: Reloader, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        path,
        "version: 0.1\nstorage: {inmemory: {}}\n"
        "http: {secret: sixteen_bytes_or_more, tls: {minimumtls: tls1.3, letsencrypt: {hosts: [r.example.com]}}}\n",
    )
    await until(lambda: any("next start" in record.message for record in caplog.records))
    [line] = [record.message for record in caplog.records if "next start" in record.message]
    assert "http.tls.letsencrypt.hosts" in line
    assert "minimumtls" not in line
