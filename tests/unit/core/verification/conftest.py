"""A small healthy store: an image with a tag, an index over another, and a signature of the first."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest
from typing_extensions import override

from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.staging import StagingStorage
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.verifications import Verifications

T = TypeVar("T")
Action = Callable[[], Awaitable[object]]

NAME = RepositoryName("team/app")
LAYER, OTHER_LAYER, CONFIG = b"layer" * 50, b"another" * 50, b'{"os":"linux"}'


@dataclass
class Store:
    """The services, and the digests of the pushed content."""

    services: CoreServices
    verifications: Verifications
    image: Digest
    child: Digest
    index: Digest
    signature: Digest
    layer: Digest
    config: Digest


@pytest.fixture
async def store() -> Store:
    services = CoreServices()
    verifications = Verifications(services)
    for content in (LAYER, OTHER_LAYER, CONFIG, b"{}"):
        await services.push_blob(NAME, content)
    image = image_manifest(CONFIG, [LAYER])
    child = image_manifest(CONFIG, [LAYER, OTHER_LAYER])
    index = image_index([child])
    signature = image_manifest(
        b"{}", subject=descriptor(image, media_types.OCI_MANIFEST), artifactType="application/x.signature"
    )
    for content, tags in ((image, ["v1", "latest"]), (child, []), (index, ["multi"]), (signature, [])):
        media_type = json.loads(content)["mediaType"]
        await services.manifests.put(NAME, content, media_type, tags=[Tag(tag) for tag in tags])
    await verifications.catalog.record_push(NAME)
    return Store(
        services,
        verifications,
        image=Digest.of(image),
        child=Digest.of(child),
        index=Digest.of(index),
        signature=Digest.of(signature),
        layer=Digest.of(LAYER),
        config=Digest.of(CONFIG),
    )


class Interposing(FaultyBlobStorage):
    """Does something right before an operation on a key."""

    def __init__(self, inner: StagingStorage) -> None:
        super().__init__(inner)
        self.before: dict[tuple[str, str], Action] = {}
        """Actions before the next operation of a kind on a key."""
        self.at_call: dict[tuple[str, str], tuple[int, Action]] = {}
        """Actions before the n-th operation of a kind on a key."""

    @override
    async def begin(self, operation: str, key: str) -> None:
        await self._interpose(operation, key)
        await super().begin(operation, key)

    @override
    async def carry_out(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        await self._interpose(operation, key)
        # Not through `begin` again, which counts too.
        return await call()

    async def _interpose(self, operation: str, key: str) -> None:
        place = (operation, key)
        action = self.before.pop(place, None)
        if place in self.at_call:
            left, later = self.at_call.pop(place)
            if left > 1:
                self.at_call[place] = (left - 1, later)
            else:
                action = later
        if action is not None:
            await action()


@pytest.fixture
def interposing(store: Store) -> Interposing:
    """Lie between the verification and the store; pushes of the test do not pass through it."""
    storage = Interposing(store.services.storage)
    store.verifications = Verifications(CoreServices(storage=storage), index=store.verifications.index)
    return storage
