"""Pushes of small images by a user, for tests of pages."""

import json
from typing import Any

from core.model import media_types
from core.model.digest import Digest
from tests.http.conftest import Api
from tests.support.content import image_manifest
from tests.support.htpasswd import basic


async def push_as(
    api: Api, name: str, *tags: str, user: tuple[str, str] | None = None, labels: dict[str, str] | None = None
) -> bytes:
    """Push an image of its own for the repository, and return its manifest."""
    headers = {"Authorization": basic(*user)} if user else {}
    config: dict[str, Any] = {"os": "linux", "architecture": "amd64", "config": {"Labels": labels or {}}}
    content, layer = json.dumps(config).encode(), f"layer of {name}".encode()
    for blob in (content, layer):
        url = f"/v2/{name}/blobs/uploads/?digest={Digest.of(blob)}"
        async with api.request("POST", url, data=blob, headers=headers) as response:
            assert response.status == 201, await response.text()
    manifest = image_manifest(content, [layer])
    for tag in tags:
        typed = {**headers, "Content-Type": media_types.OCI_MANIFEST}
        async with api.request("PUT", f"/v2/{name}/manifests/{tag}", data=manifest, headers=typed) as response:
            assert response.status == 201, await response.text()
    return manifest
