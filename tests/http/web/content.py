"""Images as the tests of the pages push them."""

import json
from typing import Any

from core.model.digest import Digest
from core.model.media_types import OCI_INDEX, OCI_MANIFEST
from tests.http.conftest import Api
from tests.support.content import descriptor, image_manifest

LAYER = b"layer" * 100


async def push_image(
    api: Api, name: str, *tags: str, label: str = "", architecture: str = "amd64", **members: Any
) -> bytes:
    """Push an image for a platform, under tags or by its digest; return its manifest."""
    document = {"os": "linux", "architecture": architecture, "config": {"Labels": {"label": label}}}
    config = json.dumps(document).encode()
    for blob in (config, LAYER):
        await api.push_blob(name, blob)
    content = image_manifest(config, [LAYER], **members)
    for reference in tags or (Digest.of(content),):
        await api.push_manifest(name, reference, content, OCI_MANIFEST)
    return content


async def push_index(api: Api, name: str, tag: str, *architectures: str) -> bytes:
    """Push an index with an image for each architecture and an attestation."""
    entries = []
    for architecture in (*architectures, "unknown"):
        image = await push_image(api, name, architecture=architecture)
        os = "unknown" if architecture == "unknown" else "linux"
        entries.append(descriptor(image, OCI_MANIFEST, platform={"os": os, "architecture": architecture}))
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    await api.push_manifest(name, tag, content, OCI_INDEX)
    return content
