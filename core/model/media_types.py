"""Media types that the registry handles by name. Content of any other type is stored without interpretation."""

import re
from typing import Final

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
OCTET_STREAM: Final = "application/octet-stream"

IMAGE_MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_MANIFEST_LIST})
SCHEMA1: Final = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
MANIFESTS: Final = IMAGE_MANIFESTS | INDEXES
IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
"""Configs that name the platform, the creation time and the labels of an image."""
DOCKER: Final = frozenset({DOCKER_MANIFEST, DOCKER_MANIFEST_LIST})
_FOREIGN_MANIFEST: Final = re.compile(r"application/[\w.+-]*\.(?:manifest|index)\.[\w.+-]*json", re.ASCII)
"""Matches, for example, `application/vnd.oci.artifact.manifest.v1+json` of OCI 1.1's release candidates."""

NONDISTRIBUTABLE_LAYERS: Final = frozenset(
    {
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)
"""Layers that a client need not push: a manifest may refer to them although the registry does not hold them."""


def is_manifest(media_type: str) -> bool:
    """Whether an index entry of this media type is certainly a manifest; BuildKit caches list blobs in indexes too."""
    return not media_type or media_type in MANIFESTS | SCHEMA1


def looks_like_manifest(media_type: str) -> bool:
    """Whether a stored document of this media type has the members of a manifest."""
    return is_manifest(media_type) or _FOREIGN_MANIFEST.fullmatch(media_type) is not None
