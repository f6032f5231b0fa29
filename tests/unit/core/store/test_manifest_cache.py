from core.model.digest import Digest
from core.model.manifest import StoredManifest
from core.model.media_types import OCI_MANIFEST
from core.store.manifest_cache import ManifestCache


def manifest(content: bytes) -> StoredManifest:
    return StoredManifest(content=content, media_type=OCI_MANIFEST, digest=Digest.of(content))


def test_most_recently_used_manifests_stay():
    cache = ManifestCache(bytes_max=30)
    one, two, three, four = (manifest(bytes([number]) * 10) for number in range(4))
    for each in (one, two, three, three):
        cache.put(each)
    assert cache.get(one.digest) is one
    cache.put(four)
    assert [cache.get(each.digest) for each in (one, two, three, four)] == [one, None, three, four]


def test_huge_manifest_evicts_nothing():
    cache = ManifestCache()
    huge = manifest(b"x" * 300_000)
    cache.put(huge)
    assert cache.get(huge.digest) is None
