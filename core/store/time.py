"""The store's clock, the only one against which object ages are compared."""

from datetime import datetime

from core.ports.blob_storage import BlobStorage
from core.store import layout


async def store_time(storage: BlobStorage) -> datetime:
    """Return the store's current time, UTC-aware. Two requests: a small object is written, then its time is read.

    Raises:
        StorageError: the store failed.
    """
    await storage.write(layout.STORE_TIME, b"", durable=False)
    return (await storage.stat(layout.STORE_TIME)).modified_at
