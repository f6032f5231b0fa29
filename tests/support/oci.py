"""Offline builder of small container images, deterministic by its arguments, real enough to run.

An image consists of a config, gzip layers with one file each, and a manifest; an index lists manifests. All are plain
values: `write_layout` writes them as an OCI image layout for the command-line clients, and
`tests.support.registry_client` pushes them request by request.
"""

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFEST_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST)

Descriptor = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """Bytes with the media type used in their descriptor."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        """The sha256 digest of the bytes."""
        return digest_of(self.data)

    def descriptor(self, **fields: Any) -> Descriptor:
        """Return a descriptor of the bytes, with additional fields such as `platform`."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **fields}


@dataclass(frozen=True)
class Image:
    """A manifest and the blobs that it refers to."""

    manifest: Content
    blobs: tuple[Content, ...]
    platform: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return self.manifest.digest


@dataclass(frozen=True)
class Index:
    """An index and the images that it lists."""

    manifest: Content
    images: tuple[Image, ...]

    @property
    def digest(self) -> str:
        """The digest of the index."""
        return self.manifest.digest


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of `data` in the notation of the specifications."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def make_image(
    seed: int,
    *,
    layer_sizes: Sequence[int] = (1_000, 2_000),
    architecture: str = "amd64",
    subject: Content | None = None,
    docker: bool = False,
) -> Image:
    """Build an image that a container engine accepts; each seed yields different bytes."""
    generator = random.Random(seed)
    tars = [_tar(f"layer-{number}", generator.randbytes(size)) for number, size in enumerate(layer_sizes)]
    layers = [
        Content(DOCKER_LAYER if docker else OCI_LAYER, gzip.compress(tar, compresslevel=1, mtime=0)) for tar in tars
    ]
    config_document = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/layer-0"], "Labels": {"seed": str(seed)}},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        "history": [{"created_by": f"layer {number}"} for number in range(len(tars))],
    }
    config = Content(DOCKER_CONFIG if docker else OCI_CONFIG, _json(config_document))
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    if subject is not None:
        document["subject"] = subject.descriptor()
    platform = {"os": "linux", "architecture": architecture}
    return Image(Content(document["mediaType"], _json(document)), (config, *layers), platform)


def make_artifact(payload: bytes, *, artifact_type: str, subject: Content | None = None) -> Image:
    """Build an artifact manifest like those of signing tools: an empty config, one layer, and a subject."""
    empty = Content(OCI_EMPTY, b"{}")
    layer = Content("application/octet-stream", payload)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty.descriptor(),
        "layers": [layer.descriptor()],
        "annotations": {"org.example.payload": digest_of(payload)},
    }
    if subject is not None:
        document["subject"] = subject.descriptor()
    return Image(Content(OCI_MANIFEST, _json(document)), (empty, layer), {})


def make_tiny_image() -> Image:
    """Build the smallest possible manifest, over one empty blob, for tests that need thousands of repositories."""
    empty = Content(OCI_EMPTY, b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": empty.descriptor(),
        "layers": [empty.descriptor()],
    }
    return Image(Content(OCI_MANIFEST, _json(document)), (empty,), {})


def make_index(images: Sequence[Image], *, docker: bool = False) -> Index:
    """Build an index of images for several platforms."""
    media_type = DOCKER_MANIFEST_LIST if docker else OCI_INDEX
    manifests = [image.manifest.descriptor(platform=dict(image.platform)) for image in images]
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
    return Index(Content(media_type, _json(document)), tuple(images))


def make_multi_platform_index(seed: int, *, docker: bool = False) -> Index:
    """Build an index of an amd64 and an arm64 image."""
    architectures = ("amd64", "arm64")
    images = [
        make_image(seed * 100 + number, architecture=architecture, docker=docker)
        for number, architecture in enumerate(architectures)
    ]
    return make_index(images, docker=docker)


def contents_of(root: Image | Index) -> Iterator[Content]:
    """Yield all content below an image or index, blobs before the manifests that refer to them."""
    images = root.images if isinstance(root, Index) else (root,)
    for image in images:
        yield from image.blobs
        yield image.manifest
    if isinstance(root, Index):
        yield root.manifest


def write_layout(folder: Path, root: Image | Index, tag: str) -> Path:
    """Write an OCI image layout that holds `root` under `tag`, and return its folder."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for content in contents_of(root):
        (blobs / content.digest.partition(":")[2]).write_bytes(content.data)
    annotations = {"org.opencontainers.image.ref.name": tag}
    entry = root.manifest.descriptor(annotations=annotations)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}))
    return folder


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _tar(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        member.mode = 0o755
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
