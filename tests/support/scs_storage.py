"""The SCS adapter on a strict endpoint, with options for tests: quick retries and small parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from adapters.blob_storage.s3 import RetryOptions
from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.scs import ScsOptions
from adapters.blob_storage.scs.storage import ScsBlobStorage
from core.model.secret import Secret
from tests.support.scs_server import FakeScsServer

QUICK = RetryOptions(pause_base_seconds=0.001, pause_seconds_max=0.01, connect_seconds=30, read_seconds=30)
"""Retries without long pauses. On a busy machine a request must not time out: its retry would be counted, too."""


def scs_options(server: FakeScsServer, **changes: Any) -> ScsOptions:
    """Return options that connect to `server`."""
    settings: dict[str, Any] = {
        "access_key": "AKTEST",
        "secret_key": Secret("SKTEST"),
        "region": "bjcnc",
        "bucket": "images",
        "endpoint": server.url,
        "chunk_bytes": 5 * MIB,
        "parts_in_flight": 2,
        "retry": QUICK,
    }
    return ScsOptions(**(settings | changes))


@asynccontextmanager
async def scs_storage(server: FakeScsServer, **changes: Any) -> AsyncIterator[ScsBlobStorage]:
    """Open an adapter on `server`, and clear the request of the opening from the log."""
    async with ScsBlobStorage(scs_options(server, **changes)) as storage:
        server.log.clear()
        yield storage
