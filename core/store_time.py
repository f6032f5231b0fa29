"""What time it is by the store's own clock: the only one by which the ages of objects may be told."""

from datetime import datetime

from core import layout
from core.ports.blob_storage import BlobStorage


async def store_time(storage: BlobStorage) -> datetime:
    """Return the store's time of now, UTC-aware. Two requests: a small object is written, and looked at.

    Raises:
        StorageError: the store failed.
    """
    await storage.write(layout.STORE_TIME, b"", durable=False)
    return (await storage.stat(layout.STORE_TIME)).modified_at
