"""A small healthy store: an image with a tag, an index over another, and a signature of the first."""

import json
from dataclasses import dataclass

import pytest

from core import media_types
from core.digest import Digest
from core.names import RepositoryName, Tag
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import CoreServices
from tests.support.verifications import Verifications

NAME = RepositoryName("team/app")
LAYER, OTHER_LAYER, CONFIG = b"layer" * 50, b"another" * 50, b'{"os":"linux"}'


@dataclass
class Store:
    """What was pushed."""

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
    digests = []
    for content, tags in ((image, ["v1", "latest"]), (child, []), (index, ["multi"]), (signature, [])):
        media_type = json.loads(content)["mediaType"]
        digests.append(
            (await services.manifests.put(NAME, content, media_type, tags=[Tag(tag) for tag in tags])).digest
        )
    await verifications.catalog.record_push(NAME)
    return Store(services, verifications, *digests, Digest.of(LAYER), Digest.of(CONFIG))
