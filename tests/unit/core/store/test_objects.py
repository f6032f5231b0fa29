"""Look-ups: how many are made at once."""

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.concurrency import REQUESTS_AT_ONCE
from core.errors import ManifestBlobUnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store.objects import reads_at_once
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices


class NearStorage(InMemoryBlobStorage):
    answers_at_once = True


@pytest.mark.parametrize(("storage", "expected"), [(NearStorage, 1), (InMemoryBlobStorage, REQUESTS_AT_ONCE)])
def test_few_reads_of_a_near_store_are_made_one_after_the_other(storage, expected):
    assert [reads_at_once(storage(now=lambda: NOW), count) for count in (1, 16)] == [expected] * 2


def test_many_reads_are_made_at_once():
    assert reads_at_once(NearStorage(now=lambda: NOW), 17) == REQUESTS_AT_ONCE


async def test_push_and_deletion_need_no_reads_at_once():
    services, name = CoreServices(storage=NearStorage(now=lambda: NOW)), RepositoryName("a")
    layers = [b"1", b"2"]
    content = image_manifest(b"{}", layers)
    with pytest.raises(ManifestBlobUnknownError) as caught:
        await services.manifests.put(name, content, media_types.OCI_MANIFEST, tags=[Tag("1")])
    assert set(caught.value.digests) == {Digest.of(blob) for blob in (b"{}", *layers)}
    for blob in (b"{}", *layers):
        await services.push_blob(name, blob)
    for tag in ("1", "2"):
        await services.manifests.put(name, content, media_types.OCI_MANIFEST, tags=[Tag(tag)])
    assert sorted(await services.manifests.delete(name, Digest.of(content))) == ["1", "2"]
