"""Reads one manifest with all that a page shows of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from core.concurrency import map_bounded
from core.content_source import Offload
from core.errors import DigestInvalidError, ManifestUnknownError, StorageCorruptError
from core.inspection.configs import ImageConfig, Layer, Step, build_steps, read_config, read_layers
from core.inspection.documents import (
    Document,
    Some,
    as_object,
    as_pairs,
    as_size,
    as_text,
    formatted,
    read_object,
    take,
)
from core.inspection.indexes import Entry, IndexParts, held_children, read_index
from core.inspection.labels import well_known, without_known
from core.model.artifact_types import PREDICATE_ANNOTATION, ArtifactKind, kind_of
from core.model.digest import Digest
from core.model.manifest import StoredManifest
from core.model.media_types import IMAGE_CONFIGS, INDEXES, SCHEMA1
from core.model.names import RepositoryName
from core.summaries.manifest_summary import ManifestSummary
from core.summaries.service import SummaryService

CONFIG_BYTES_MAX: Final = 1024 * 1024
"""Maximum size in bytes of a config that a page shows."""
ATTESTATIONS_MAX: Final = 20
"""Maximum number of attestations of an index that a page reads, for the types of their statements."""
BUILT_MAX: Final = 200
"""Maximum number of manifests of an index that a page reads for its summary; the next page continues."""
_INLINE_BYTES_MAX: Final = 64 * 1024
_TYPE_LENGTH_MAX: Final = 255

T = TypeVar("T")

ManifestOf = Callable[[RepositoryName, Digest], Awaitable[StoredManifest]]
"""Returns a manifest, as `ManifestService.get`."""


class Shape(StrEnum):
    """The shape of a manifest, which decides the sections of a page."""

    INDEX = "index"
    IMAGE = "image"
    ARTIFACT = "artifact"
    SCHEMA1 = "schema1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A manifest in detail."""

    digest: Digest
    media_type: str
    artifact_type: str
    shape: Shape
    kind: ArtifactKind | None
    """The kind of an artifact, if it has a name."""
    raw: Document
    manifest_size: int
    summary: ManifestSummary | None = None
    """None if it is not known, because too many manifests would have to be read."""
    config: ImageConfig = field(default_factory=lambda: read_config(None))
    config_blob: Layer | None = None
    raw_config: Document | None = None
    """None if the config is no text, too large, or not held."""
    layers: Sequence[Layer] = ()
    steps: Some[Step] = field(default_factory=Some)
    """The build of an image."""
    files: Some[Layer] = field(default_factory=Some)
    """The files of an artifact."""
    index: IndexParts | None = None
    predicates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The predicate types of each attestation of an index that was read, by its digest."""
    known: Sequence[tuple[str, str]] = ()
    """The well-known properties (`labels.WELL_KNOWN`)."""
    labels: Some[tuple[str, str]] = field(default_factory=Some)
    annotations: Some[tuple[str, str]] = field(default_factory=Some)
    subject: str = ""
    """The digest of the manifest to which it refers."""


class Inspector:
    """Reads manifests for pages; one per process.

    Args:
        summaries: the summaries of manifests.
        manifest_of: returns a manifest.
        offload: runs a function in a thread.
    """

    def __init__(self, summaries: SummaryService, manifest_of: ManifestOf, *, offload: Offload) -> None:
        self._summaries = summaries
        self._manifest_of = manifest_of
        self._offload = offload

    async def inspect(self, name: RepositoryName, digest: Digest) -> Inspection:
        """Return a manifest in detail.

        Costs two requests for the manifest and two for its config, and two for each attestation of an index. If the
        summary is not known, `SummaryService.describe` reads at most 200 manifests besides.

        Raises:
            ManifestUnknownError: the repository does not hold the manifest.
            StorageCorruptError: the content cannot be served.
        """
        stored = await self._manifest_of(name, digest)
        summary = (await self._summaries.describe(name, [digest], built_max=BUILT_MAX)).get(digest)
        if stored.media_type in INDEXES:
            return await self._index(name, stored, summary)
        config = await self._config(name, stored)
        size = len(stored.content) + len(config or b"")
        return await self._process(size, describe, stored, config, summary)

    async def _config(self, name: RepositoryName, stored: StoredManifest) -> bytes | None:
        document = await self._process(len(stored.content), read_object, stored.content)
        descriptor = as_object(document.get("config"))
        digest = _digest(as_text(descriptor.get("digest")))
        is_text = as_text(descriptor.get("mediaType")).endswith("json")
        if digest is None or not is_text or as_size(descriptor.get("size")) > CONFIG_BYTES_MAX:
            return None
        return await self._summaries.read_blob(name, digest, size_max=CONFIG_BYTES_MAX)

    async def _index(self, name: RepositoryName, stored: StoredManifest, summary: ManifestSummary | None) -> Inspection:
        size = len(stored.content)
        document = await self._process(size, read_object, stored.content)
        # The repository may not hold the others, and must then not describe them.
        held = await self._process(size, held_children, document, summary)
        children = await self._summaries.describe(name, held, built_max=0)
        parts = await self._process(size, read_index, document, summary, children)
        read = [entry for entry in parts.attestations if entry.is_held][:ATTESTATIONS_MAX]

        async def predicates(entry: Entry) -> Sequence[str]:
            try:
                attestation = await self._manifest_of(name, Digest(entry.digest))
            except (ManifestUnknownError, StorageCorruptError):
                return ()
            return predicate_types(read_layers(read_object(attestation.content)))

        found = await map_bounded(predicates, read)
        types = {entry.digest: types for entry, types in zip(read, found, strict=True)}
        return await self._process(size, describe_index, stored, summary, parts, types)

    async def _process(self, size: int, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that processes this number of bytes, in a thread if they are many."""
        if size <= _INLINE_BYTES_MAX:
            return function(*arguments)
        result: T = await self._offload(function, *arguments)
        return result


def describe(stored: StoredManifest, config: bytes | None, summary: ManifestSummary | None) -> Inspection:
    """Return an image or artifact in detail. Never fails, whatever the documents contain.

    Args:
        stored: the manifest.
        config: the content of its config, if it can be shown.
        summary: the summary of the manifest, if it is known.
    """
    document = read_object(stored.content)
    descriptor = as_object(document.get("config"))
    layers = read_layers(document)
    artifact_type = as_text(document.get("artifactType") or descriptor.get("mediaType"), _TYPE_LENGTH_MAX)
    kind = kind_of_artifact(document, layers)
    is_image = stored.media_type not in SCHEMA1 and kind is ArtifactKind.IMAGE
    shape = Shape.SCHEMA1 if stored.media_type in SCHEMA1 else Shape.IMAGE if is_image else Shape.ARTIFACT
    image = read_config(config if is_image else None)
    known, labels, annotations = _texts(document, summary)
    return Inspection(
        digest=stored.digest,
        media_type=stored.media_type,
        artifact_type="" if artifact_type in IMAGE_CONFIGS else artifact_type,
        shape=shape,
        kind=None if is_image else kind,
        raw=formatted(stored.content),
        manifest_size=len(stored.content),
        summary=summary,
        config=image,
        config_blob=read_layers({"layers": [descriptor]})[0] if descriptor else None,
        raw_config=formatted(config) if config is not None else None,
        layers=layers,
        steps=build_steps(layers, image.history) if is_image else Some(),
        files=Some() if is_image else take(layers, lambda layer: len(layer.title) + len(layer.media_type)),
        known=known,
        labels=labels,
        annotations=annotations,
        subject=as_text(as_object(document.get("subject")).get("digest")),
    )


def describe_index(
    stored: StoredManifest,
    summary: ManifestSummary | None,
    parts: IndexParts,
    predicates: Mapping[str, Sequence[str]],
) -> Inspection:
    """Return an index in detail."""
    document = read_object(stored.content)
    known, labels, annotations = _texts(document, summary)
    artifact_type = as_text(document.get("artifactType"), _TYPE_LENGTH_MAX)
    return Inspection(
        digest=stored.digest,
        media_type=stored.media_type,
        artifact_type=artifact_type,
        shape=Shape.INDEX,
        kind=kind_of(artifact_type),
        raw=formatted(stored.content),
        manifest_size=len(stored.content),
        summary=summary,
        index=parts,
        predicates=predicates,
        known=known,
        labels=labels,
        annotations=annotations,
        subject=as_text(as_object(document.get("subject")).get("digest")),
    )


def predicate_types(layers: Sequence[Layer]) -> Sequence[str]:
    """Return the distinct predicate types that the layers of an attestation name."""
    keys = {PREDICATE_ANNOTATION, "predicateType"}
    found = [value for layer in layers for key, value in layer.annotations if key in keys and value]
    return list(dict.fromkeys(found))[:ATTESTATIONS_MAX]


def kind_of_artifact(document: Mapping[str, Any], layers: Sequence[Layer]) -> ArtifactKind | None:
    """Return the kind of a manifest. A signature with the config of an image is a signature, not an image."""
    annotations = {key: as_text(value) for key, value in as_object(document.get("annotations")).items()}
    config_type = as_text(as_object(document.get("config")).get("mediaType"))
    layer_types = [layers[0].media_type] if layers else []
    for each in (as_text(document.get("artifactType")), *predicate_types(layers[:1]), *layer_types, config_type):
        if (kind := kind_of(each, annotations)) is not None:
            return kind
    return None


def _digest(text: str) -> Digest | None:
    try:
        return Digest(text)
    except DigestInvalidError:
        return None


def _texts(
    document: Mapping[str, Any], summary: ManifestSummary | None
) -> tuple[Sequence[tuple[str, str]], Some[tuple[str, str]], Some[tuple[str, str]]]:
    """Return the well-known properties, and the other labels and annotations."""
    annotations = as_pairs(document.get("annotations"))
    labels = summary.labels if summary else {}
    known = well_known(dict(annotations), labels)
    others = as_pairs(dict(without_known(annotations, known)))
    return known, as_pairs(dict(without_known(labels.items(), known))), replace(others, left_out=annotations.left_out)
