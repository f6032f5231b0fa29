"""What every `BlobStorage` promises, as tests; an adapter's file subclasses `BlobStorageContract`.

The cases are grouped as the port is: objects, readers, writers, listing, deletion. Nothing here knows an
adapter: differences are class attributes, closed unless opened, each with an outcome asserted either way.
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
    """Subclass as `TestXBlobStorage`, define the three fixtures, and open the capabilities that there are."""

    TELLS_MD5 = False
    """Whether `stat` of an object that `write` stored tells its MD5."""

    LOCKS_ACROSS_INSTANCES = False
    TAKES_FROM_THREADS = False
    """Whether two adapters on one store keep each other from staging at the same key."""

    HAS_REDIRECTS = False
    """Whether `redirect_url` answers for GET."""

    SHARES_STORE = True
    """Whether `reopen` gives adapters of their own on the same store."""

    MANY = 1_100
    """More entries than one page of a listing or one batch of a deletion holds."""

    LISTS_READABLE_ONLY = True
    """Whether a name is listed only once its object can be read, also in the moment of its first write."""

    @pytest.fixture
    async def storage(self) -> BlobStorage:
        """An open adapter on an empty store."""
        raise NotImplementedError

    @pytest.fixture
    async def reopen(self) -> Reopen:
        """Opens one more adapter on the store of `storage`; closed at the end of the test."""
        raise NotImplementedError

    @pytest.fixture
    async def leftovers(self) -> Leftovers:
        """Tells what the store physically holds: objects, staged bytes, temporary files, multiparts."""
        raise NotImplementedError

    @pytest.fixture
    async def plant(self) -> Plant:
        """Puts an object into the store as another program does; a store in memory has no other programs."""

        async def do_nothing(_key: str) -> None:
            """Do nothing."""

        return do_nothing

    @pytest.fixture(autouse=True)
    async def _nothing_is_left(self, storage: BlobStorage, leftovers: Leftovers) -> AsyncIterator[None]:
        yield
        await storage.delete_tree("/")
        assert await leftovers() == []
