"""Redirects to the store itself, where no middleware names another URL."""

from typing_extensions import override

from core.model.events import Actor
from core.ports.blob_storage import BlobStorage
from core.ports.redirection import Redirector


class StoreRedirector(Redirector):
    """Names the URLs of a store, which the caller opens."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    @override
    async def url(self, key: str, *, by: Actor) -> str | None:
        return await self._storage.redirect_url(key, method="GET")
