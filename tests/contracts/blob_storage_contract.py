"""Contract of every `BlobStorage`; test classes of adapters inherit from `BlobStorageContract`.

The cases are grouped like the port: objects, readers, writers, listing, deletion. The suite refers to no particular
adapter: differences are class attributes, off by default, and the tests assert an outcome for either value.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from core.ports.blob_storage import BlobStorage
from tests.contracts.blob_storage_deletion_cases import DeletionCases
from tests.contracts.blob_storage_listing_cases import ListingCases
from tests.contracts.blob_storage_object_cases import ObjectCases
from tests.contracts.blob_storage_reader_cases import ReaderCases
from tests.contracts.blob_storage_writer_cases import WriterCases

Reopen = Callable[[], Awaitable[BlobStorage]]
Leftovers = Callable[[], Awaitable[list[str]]]
Plant = Callable[[str], Awaitable[None]]


class BlobStorageContract(ObjectCases, ReaderCases, WriterCases, ListingCases, DeletionCases):
    """Subclass as `TestXBlobStorage`, define the three required fixtures, and enable the supported capabilities."""

    TELLS_MD5 = False
    """Whether `stat` returns the MD5 of an object stored by `write`."""

    LOCKS_ACROSS_INSTANCES = False
    """Whether an adapter refuses to stage at a key at which another adapter on the same store is staging."""

    TAKES_FROM_THREADS = False
    """Whether writers accept pieces from threads: `append_now` is not None."""

    PASSES_OVER = True
    """Whether `list_marked` finds out without a request for each path what `passing_over` leaves out."""

    HAS_REDIRECTS = False
    """Whether `redirect_url` returns a URL for GET."""

    SHARES_STORE = True
    """Whether `reopen` returns separate adapters on the same store."""

    MANY = 1_100
    """More entries than fit in one page of a listing or in one batch of a deletion."""

    LISTS_READABLE_ONLY = True
    """Whether a name is listed only once its object is readable, even during its first write."""

    @pytest.fixture
    async def storage(self) -> BlobStorage:
        """Return an open adapter on an empty store."""
        raise NotImplementedError

    @pytest.fixture
    async def reopen(self) -> Reopen:
        """Return a function that opens another adapter on the store of `storage`; closed at the end of the test."""
        raise NotImplementedError

    @pytest.fixture
    async def leftovers(self) -> Leftovers:
        """Return a function that lists the physical content: objects, staged bytes, temporary files, multiparts."""
        raise NotImplementedError

    @pytest.fixture
    async def plant(self) -> Plant:
        """Return a function that stores an object as another program would; it does nothing for a store in memory."""

        async def do_nothing(_key: str) -> None:
            """Do nothing."""

        return do_nothing

    @pytest.fixture(autouse=True)
    async def _nothing_is_left(self, storage: BlobStorage, leftovers: Leftovers) -> AsyncIterator[None]:
        yield
        await storage.delete_tree("/")
        assert await leftovers() == []
