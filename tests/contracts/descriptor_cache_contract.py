"""Contract of every descriptor cache."""

import pytest

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.descriptor_cache import DescriptorCache

NAME = RepositoryName("a/b")
OTHER = RepositoryName("a")
DIGEST = Digest.of(b"x")


class DescriptorCacheContract:
    """Subclasses provide `cache`; REMEMBERS is whether a stored entry can be found."""

    REMEMBERS = True

    @pytest.fixture
    async def cache(self) -> DescriptorCache:
        raise NotImplementedError

    async def test_unknown_digest_is_a_miss(self, cache):
        assert await cache.get(NAME, DIGEST) is None

    async def test_stored_size_is_returned(self, cache):
        await cache.put(NAME, DIGEST, 5)
        await cache.put(NAME, DIGEST, 6)
        assert await cache.get(NAME, DIGEST) == (6 if self.REMEMBERS else None)

    async def test_repositories_do_not_share(self, cache):
        await cache.put(NAME, DIGEST, 5)
        assert await cache.get(OTHER, DIGEST) is None
        assert await cache.get(NAME, Digest.of(b"y")) is None

    async def test_forgotten_digest_is_a_miss(self, cache):
        await cache.put(NAME, DIGEST, 5)
        await cache.put(OTHER, DIGEST, 5)
        await cache.forget(NAME, DIGEST)
        await cache.forget(NAME, DIGEST)
        assert await cache.get(NAME, DIGEST) is None
        assert await cache.get(OTHER, DIGEST) == (5 if self.REMEMBERS else None)

    async def test_digest_forgotten_everywhere_is_a_miss_in_each_repository(self, cache):
        await cache.put(NAME, DIGEST, 5)
        await cache.put(OTHER, DIGEST, 5)
        await cache.forget_everywhere(DIGEST)
        await cache.forget_everywhere(DIGEST)
        assert await cache.get(NAME, DIGEST) is None
        assert await cache.get(OTHER, DIGEST) is None

    async def test_forgetting_everywhere_leaves_other_blobs(self, cache):
        await cache.put(NAME, DIGEST, 5)
        await cache.forget_everywhere(Digest.of(b"y"))
        assert await cache.get(NAME, DIGEST) == (5 if self.REMEMBERS else None)
        await cache.forget_everywhere(DIGEST)
        await cache.put(NAME, DIGEST, 7)
        assert await cache.get(NAME, DIGEST) == (7 if self.REMEMBERS else None)
