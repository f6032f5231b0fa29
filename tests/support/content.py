"""Content for pushes: manifests and indexes, built from the content they refer to."""

import json
from collections.abc import Sequence
from typing import Any

from core.model import media_types
from core.model.digest import Digest

CONFIG_MEDIA_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor(content: bytes, media_type: str, *, algorithm: str = "sha256", **members: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": Digest.of(content, algorithm), "size": len(content), **members}


def image_manifest(
    config: bytes = b"{}",
    layers: Sequence[bytes] = (),
    *,
    media_type: str = media_types.OCI_MANIFEST,
    subject: dict[str, Any] | None = None,
    **members: Any,
) -> bytes:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(config, CONFIG_MEDIA_TYPE),
        "layers": [descriptor(layer, LAYER_MEDIA_TYPE) for layer in layers],
        **members,
    }
    if subject is not None:
        document["subject"] = subject
    return json.dumps(document).encode()


def image_index(
    manifests: Sequence[bytes], *, media_type: str = media_types.OCI_INDEX, subject: dict[str, Any] | None = None
) -> bytes:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [descriptor(manifest, media_types.OCI_MANIFEST) for manifest in manifests],
    }
    if subject is not None:
        document["subject"] = subject
    return json.dumps(document).encode()
