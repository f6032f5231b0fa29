"""Files of an OCI image layout: their names, version and index (OCI image-spec 1.1, image-layout)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.errors import DigestInvalidError, ImageLayoutError, ObjectNotFoundError, ObjectTooLargeError
from core.json_text import load_json
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.media_types import OCI_INDEX
from core.model.names import RepositoryName, Tag
from core.ports.image_layout import ImageLayout

VERSION_PATH: Final = "oci-layout"
INDEX_PATH: Final = "index.json"
VERSION_CONTENT: Final = b'{"imageLayoutVersion":"1.0.0"}'

REF_NAME: Final = "org.opencontainers.image.ref.name"
"""Name of an image in the layout: a tag, or `repository:tag` if the layout holds several repositories."""
IMAGE_NAME: Final = "io.containerd.image.name"
"""Full name of an image, as used by containerd, BuildKit and `docker load`."""
REPOSITORY: Final = "com.sohu.registry.repository"
"""Repository of an image. An annotation of our own, which lets content without a tag return to its repository."""

_VERSION_BYTES_MAX: Final = 64 * 1024
_INDEX_BYTES_MAX: Final = 16 * 1024 * 1024
_LOCALHOST: Final = "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutImage:
    """An entry of `index.json`: the descriptor of an image, with the image's name in its annotations."""

    descriptor: Descriptor

    @property
    def tag(self) -> Tag | None:
        """The tag in the name of the image, or None if the image has no name.

        Raises:
            TagInvalidError: the name does not contain a valid tag.
        """
        name = self.descriptor.annotations.get(REF_NAME) or self.descriptor.annotations.get(IMAGE_NAME)
        return Tag(name.rpartition("/")[2].rpartition(":")[2]) if name else None

    @property
    def repository(self) -> RepositoryName | None:
        """The repository in the annotations of the image, or None.

        Raises:
            NameInvalidError: the annotation is not a valid repository name.
        """
        annotations = self.descriptor.annotations
        if own := annotations.get(REPOSITORY):
            return RepositoryName(own)
        for name in (annotations.get(IMAGE_NAME), annotations.get(REF_NAME)):
            if name and (":" in name or "/" in name):
                return RepositoryName(_without_host(name.rpartition(":")[0] if ":" in name else name))
        return None


def blob_path(digest: Digest) -> str:
    """Return the path of a blob in a layout."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


async def read_images(layout: ImageLayout) -> list[LayoutImage]:
    """Return the entries of a layout's index, in their order.

    Raises:
        ImageLayoutError: the layout's version is missing or unknown, or its index is missing or malformed.
    """
    await _require_version(layout)
    try:
        content = await layout.read(INDEX_PATH, limit=_INDEX_BYTES_MAX)
    except ObjectNotFoundError:
        raise ImageLayoutError("the image layout has no index.json") from None
    except ObjectTooLargeError as error:
        raise ImageLayoutError(f"index.json is too large: {error}") from None
    document = _load(content, INDEX_PATH)
    entries = document.get("manifests")
    if not isinstance(entries, list):
        raise ImageLayoutError("index.json lists no manifests")
    return [_image(entry) for entry in entries]


def render_index(images: Sequence[LayoutImage]) -> bytes:
    """Return `index.json` for these entries."""
    manifests = [image.descriptor.as_json() for image in images]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}, indent=1).encode()


async def _require_version(layout: ImageLayout) -> None:
    try:
        content = await layout.read(VERSION_PATH, limit=_VERSION_BYTES_MAX)
    except ObjectNotFoundError:
        raise ImageLayoutError(
            "not an OCI image layout: there is no file oci-layout; `skopeo copy docker-archive:FILE oci-archive:OTHER` "
            "converts an archive that `docker save` wrote before Docker 25"
        ) from None
    except ObjectTooLargeError as error:
        raise ImageLayoutError(f"oci-layout is too large: {error}") from None
    version = _load(content, VERSION_PATH).get("imageLayoutVersion")
    if not isinstance(version, str) or not version.startswith("1."):
        raise ImageLayoutError(f"unsupported image layout version {str(version)[:32]!r}")


def _load(content: bytes, path: str) -> dict[str, Any]:
    try:
        document = load_json(content.decode("utf-8"))
    except ValueError as error:
        raise ImageLayoutError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise ImageLayoutError(f"{path} is not a JSON object")
    return document


def _image(entry: object) -> LayoutImage:
    if not isinstance(entry, dict):
        raise ImageLayoutError("an entry of index.json is not a descriptor")
    media_type, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
    annotations = entry.get("annotations") or {}
    if not (isinstance(media_type, str) and isinstance(digest, str) and type(size) is int and size >= 0):
        raise ImageLayoutError("an entry of index.json has no valid mediaType, digest or size")
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise ImageLayoutError("an entry of index.json has annotations that are not strings")
    try:
        descriptor = Descriptor(media_type=media_type, digest=Digest(digest), size=size, annotations=annotations)
    except DigestInvalidError as error:
        raise ImageLayoutError(f"an entry of index.json has an invalid digest: {error}") from None
    return LayoutImage(descriptor=descriptor)


def _without_host(name: str) -> str:
    """Return a full image name without its registry host, by docker's rules."""
    host, slash, rest = name.partition("/")
    is_host = bool(slash) and ("." in host or ":" in host or host == _LOCALHOST)
    return rest if is_host else name
