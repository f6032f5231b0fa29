"""Look-up of objects that may be absent."""

from core.errors import ObjectNotFoundError
from core.ports.blob_storage import BlobStorage, ObjectStat


async def find(storage: BlobStorage, key: str) -> ObjectStat | None:
    """Return size and time of an object, or None if there is none. One storage request."""
    try:
        return await storage.stat(key)
    except ObjectNotFoundError:
        return None
