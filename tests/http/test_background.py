"""What the application does by itself."""

import asyncio
import logging
from dataclasses import replace

from config.settings import Settings, UploadPurgingSettings
from core.errors import StorageUnavailableError
from core.names import RepositoryName
from entrypoints.http import background

NAME = RepositoryName("a")


def purging(**changes):
    storage = replace(Settings().storage, upload_purging=UploadPurgingSettings(**changes))
    return replace(Settings(), storage=storage)


async def test_abandoned_upload_is_removed_and_logged(start, services, monkeypatch, caplog):
    monkeypatch.setattr(background, "PURGE_DELAY_SECONDS_MAX", 1)
    # The clock of the services stands still, far from the age that is asked for.
    state = await services.uploads.start(NAME)
    with caplog.at_level(logging.INFO):
        await start(purging(age_seconds=-1.0, interval_seconds=0.01))
        async with asyncio.timeout(10):
            while await services.keys():  # noqa: ASYNC110 - storage tells nobody
                await asyncio.sleep(0.02)
    assert any(state.upload_id in getattr(record, "session", "") for record in caplog.records)


async def test_failing_store_is_looked_at_again(start, services, monkeypatch, caplog):
    monkeypatch.setattr(background, "PURGE_DELAY_SECONDS_MAX", 1)
    looks, looked_twice = [], asyncio.Event()

    async def fail(_age, *, dry_run):
        looks.append(dry_run)
        if len(looks) == 2:
            looked_twice.set()
        raise StorageUnavailableError("down")

    monkeypatch.setattr(services.uploads, "purge", fail)
    await start(purging(interval_seconds=0.01, dry_run=True))
    await asyncio.wait_for(looked_twice.wait(), 10)
    assert looks[0] is True
    assert "not for now: abandoned uploads are removed" in caplog.text
