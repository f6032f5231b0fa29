"""A push and a delete of the same manifest at two replicas, in every order of their storage requests.

The later operation wins, both succeed, and the store is sound: each tag can be pulled.
"""

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import ManifestUnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices, counting_ids
from tests.support.interleavings import (
    Interleaving,
    Replica,
    SteppingBlobStorage,
    content_of,
    interleavings,
    run_alone,
)
from tests.support.invariants import broken_invariants, tags_of

NAME = RepositoryName("a")
MANIFEST = image_manifest(b"{}", [])
OTHER = image_manifest(b"{}", [], annotations={"other": "image"})
CONFIG = Digest.of(b"{}")
OCI = media_types.OCI_MANIFEST


async def set_up(services):
    await services.storage.write(layout.blob_data(CONFIG), b"{}")
    await services.links.write(layout.layer_link(NAME, CONFIG), CONFIG)
    await push(services, MANIFEST, Tag("old"))


async def push(services, content, tag):
    await services.manifests.put(NAME, content, OCI, tags=[tag])


async def delete(services, reference):
    try:
        await services.manifests.delete(NAME, reference)
    except ManifestUnknownError:
        # The other one was faster, or the push is later.
        return


def begin(*works):
    """Return replicas that are about to do these works on a store of their own."""
    store = InMemoryBlobStorage(now=lambda: NOW)
    run_alone(set_up(CoreServices(storage=store)))
    replicas = []
    for number, work in enumerate(works):
        storage = SteppingBlobStorage(store, marker="/_manifests/")
        # No two replicas make the same identifier.
        services = CoreServices(storage=storage, new_trash_id=counting_ids(first=1000 * (number + 1)))
        replicas.append(Replica(storage, work(services)))
    return Interleaving(store, replicas)


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
    count = 0
    for run in interleavings(lambda: begin(first, second)):
        count += 1
        services = CoreServices(storage=run.store)
        broken = run_alone(broken_invariants(services, NAME))
        assert broken == [], f"{run.turns}: {[replica.storage.operations for replica in run.replicas]}"
        assert set(run_alone(tags_of(services, NAME))) <= {"old", "new"}
    # At least: one before the other, the other before the one, and one in the middle.
    assert count >= 3


def test_skipped_orders_lead_to_no_other_state():
    """The search without giving up any order ends in the same stores."""

    def ends(*, prunes):
        runs = interleavings(
            lambda: begin(
                lambda services: delete(services, Digest.of(MANIFEST)), lambda services: delete(services, Tag("old"))
            ),
            prunes=prunes,
        )
        return [run_alone(content_of(run.store)) for run in runs]

    every, distinct = ends(prunes=False), ends(prunes=True)
    assert len(distinct) < len(every)
    assert set(distinct) == set(every)
