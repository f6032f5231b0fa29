"""A push and a delete of the same manifest, in every order of their storage requests.

Whoever is later wins, both are answered, and the store is sound: no tag that cannot be pulled.
"""

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core import layout, media_types
from core.digest import Digest
from core.errors import ManifestUnknownError
from core.names import RepositoryName, Tag
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices
from tests.support.interleavings import SteppingBlobStorage, interleavings, run_alone, run_interleaved
from tests.support.invariants import broken_invariants, tags_of

NAME = RepositoryName("a")
MANIFEST = image_manifest(b"{}", [])
OTHER = image_manifest(b"{}", [], annotations={"other": "image"})
CONFIG = Digest.of(b"{}")
OCI = media_types.OCI_MANIFEST


async def set_up(services):
    await services.storage.write(layout.blob_data(CONFIG), b"{}")
    await services.links.write(layout.layer_link(NAME, CONFIG), CONFIG)


async def push(services, content, tag):
    await services.manifests.put(NAME, content, OCI, tags=[tag])


async def delete(services, reference):
    try:
        await services.manifests.delete(NAME, reference)
    except ManifestUnknownError:
        # The other one was faster, or the push is later.
        return


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(
            lambda services: push(services, MANIFEST, Tag("new")),
            lambda services: delete(services, Digest.of(MANIFEST)),
            id="push-a-tag-and-delete-the-manifest",
        ),
        pytest.param(
            lambda services: push(services, MANIFEST, Tag("old")),
            lambda services: delete(services, Digest.of(MANIFEST)),
            id="push-the-same-tag-and-delete-the-manifest",
        ),
        pytest.param(
            lambda services: push(services, OTHER, Tag("old")),
            lambda services: delete(services, Digest.of(MANIFEST)),
            id="move-the-tag-and-delete-the-manifest",
        ),
        pytest.param(
            lambda services: push(services, MANIFEST, Tag("old")),
            lambda services: delete(services, Tag("old")),
            id="push-and-delete-the-tag",
        ),
        pytest.param(
            lambda services: delete(services, Digest.of(MANIFEST)),
            lambda services: delete(services, Tag("old")),
            id="delete-both-ways",
        ),
    ],
)
def test_every_order_leaves_a_sound_store(first, second):
    last: list[CoreServices] = []

    def run(turns):
        inner = InMemoryBlobStorage(now=lambda: NOW)
        services = CoreServices(storage=SteppingBlobStorage(inner, marker="/_manifests/"))
        run_alone(set_up(services))
        run_alone(push(services, MANIFEST, Tag("old")))
        taken = run_interleaved([first(services), second(services)], turns)
        last[:] = [services]
        return taken

    count = 0
    for taken in interleavings(run):
        count += 1
        broken = run_alone(broken_invariants(last[0], NAME))
        assert broken == [], f"{taken}: {last[0].storage.operations}"
        assert set(run_alone(tags_of(last[0], NAME))) <= {"old", "new"}
    assert count >= 10
