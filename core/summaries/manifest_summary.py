"""The summary of one manifest, for lists and pages: of an image, an index or an artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from core.json_text import load_json
from core.model.digest import Digest
from core.model.manifest import Manifest, has_too_many_parts, sendable
from core.model.media_types import DOCKER_SCHEMA1, IMAGE_CONFIGS

TEXT_BYTES_MAX: Final = 64 * 1024
"""Maximum size in bytes of the annotations, and of the labels, of one summary; further ones are left out."""
_MEDIA_TYPE_LENGTH_MAX: Final = 255
_PLATFORM_LENGTH_MAX: Final = 64
"""Maximum length of an operating system, an architecture and a variant; longer ones are cut."""
_SIZE_MAX: Final = 2**63 - 1
"""A manifest may claim any size for its content."""
_UNKNOWN: Final = "unknown"
"""Operating system and architecture of attestations in an index."""
_CREATED: Final = "org.opencontainers.image.created"
_SUMMARY_WEIGHT: Final = 800
_CONTENT_WEIGHT: Final = 128
_PLATFORM_WEIGHT: Final = 300
_ENTRY_WEIGHT: Final = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSummary:
    """An image for one platform."""

    os: str
    architecture: str
    variant: str = ""
    digest: Digest
    size: int
    """Size in bytes of the distinct blobs and the manifest of the image; 0 if the repository does not hold it."""

    @property
    def text(self) -> str:
        """The platform as clients write it: `linux/arm64/v8`."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestSummary:
    """The properties of one manifest that lists show. They depend on content only, so they never become stale."""

    digest: Digest
    media_type: str
    artifact_type: str = ""
    contents: Mapping[Digest, int] = field(default_factory=dict)
    """Size in bytes of each distinct blob and manifest that belongs to it, itself included."""
    platforms: tuple[PlatformSummary, ...] = ()
    """The platforms of an image or index; attestations (`unknown/unknown`) are none."""
    created: datetime | None = None
    """Creation time by the image's config, UTC-aware, or by its annotation."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    subject: Digest | None = None
    is_complete: bool = True
    """Whether all content could be read: an index whose children are missing is summarized without them."""
    size: int = field(init=False)
    """Total size in bytes of the distinct content."""

    def __post_init__(self) -> None:
        """Add up the sizes once, because lists are sorted by them."""
        object.__setattr__(self, "size", sum(self.contents.values()))

    @property
    def weight(self) -> int:
        """Approximate number of bytes in memory."""
        texts = (self.annotations, self.labels)
        return (
            _SUMMARY_WEIGHT
            + _CONTENT_WEIGHT * len(self.contents)
            + _PLATFORM_WEIGHT * len(self.platforms)
            + sum(_ENTRY_WEIGHT + len(key) + len(value) for text in texts for key, value in text.items())
        )


def summarize(
    manifest: Manifest, digest: Digest, *, config: bytes | None, children: Mapping[Digest, ManifestSummary]
) -> ManifestSummary:
    """Summarize a manifest.

    Args:
        manifest: the parsed manifest.
        digest: its digest.
        config: the content of the config, if it is that of an image and could be read; empty if it is too large.
        children: the summaries of the manifests that an index lists, without those that the repository lacks.
    """
    image = _read_json(config)
    contents = {digest: len(manifest.content)} | {blob.digest: min(blob.size, _SIZE_MAX) for blob in manifest.blobs()}
    for child in children.values():
        contents |= child.contents
    platforms = _index_platforms(manifest, children) if manifest.is_index else _image_platforms(image, digest, contents)
    artifact_type = manifest.describe(digest).artifact_type or ""
    found = [children.get(entry.digest) for entry in manifest.manifests]
    return ManifestSummary(
        digest=digest,
        media_type=manifest.media_type,
        artifact_type=artifact_type if len(artifact_type) <= _MEDIA_TYPE_LENGTH_MAX else "",
        contents=contents,
        platforms=platforms,
        created=_moment(image.get("created") or manifest.annotations.get(_CREATED)),
        annotations=_bounded(manifest.annotations),
        labels=_labels(image),
        subject=manifest.subject.digest if manifest.subject else None,
        is_complete=(config is not None or not has_image_config(manifest))
        and all(child is not None and child.is_complete for child in found),
    )


def has_image_config(manifest: Manifest) -> bool:
    """Whether the config of a manifest describes an image."""
    return manifest.config is not None and manifest.config.media_type in IMAGE_CONFIGS


def summarize_schema1(content: bytes, digest: Digest, layers: Mapping[Digest, int]) -> ManifestSummary:
    """Summarize a schema 1 manifest, whose history contains the properties of the image.

    Args:
        content: the manifest, known to be schema 1.
        digest: its digest.
        layers: the sizes in bytes of its layers, as far as they exist.
    """
    image = _read_json(_first_history(_read_json(content)).encode())
    contents = {digest: len(content), **layers}
    return ManifestSummary(
        digest=digest,
        media_type=DOCKER_SCHEMA1,
        contents=contents,
        platforms=_image_platforms(image, digest, contents),
        created=_moment(image.get("created")),
        labels=_labels(image),
    )


def summarize_foreign(content: bytes, digest: Digest, media_type: str) -> ManifestSummary:
    """Summarize a document of a media type that this registry serves but does not interpret."""
    return ManifestSummary(digest=digest, media_type=media_type, contents={digest: len(content)})


def _read_json(content: bytes | None) -> Mapping[str, Any]:
    if not content or has_too_many_parts(content):
        return {}
    try:
        document = load_json(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _first_history(document: Mapping[str, Any]) -> str:
    """Return the text that describes the image of a schema 1 manifest; empty if there is none."""
    match document.get("history"):
        case [{"v1Compatibility": str() as text}, *_]:
            return sendable(text)
        case _:
            return ""


def _labels(image: Mapping[str, Any]) -> Mapping[str, str]:
    config = image.get("config")
    labels = config.get("Labels") if isinstance(config, dict) else None
    return _bounded(labels) if isinstance(labels, dict) else {}


def _bounded(entries: Mapping[Any, Any]) -> Mapping[str, str]:
    """Return the entries that fit into the limit, as texts that can be encoded."""
    kept: dict[str, str] = {}
    left = TEXT_BYTES_MAX
    for key, value in entries.items():
        size = len(str(key)) + len(str(value))
        if size <= left:
            left -= size
            kept[sendable(str(key))] = sendable(str(value))
    return kept


def _image_platforms(
    image: Mapping[str, Any], digest: Digest, contents: Mapping[Digest, int]
) -> tuple[PlatformSummary, ...]:
    return _platforms([(image, digest, sum(contents.values()))])


def _index_platforms(manifest: Manifest, children: Mapping[Digest, ManifestSummary]) -> tuple[PlatformSummary, ...]:
    found: list[PlatformSummary] = []
    for entry in load_json(manifest.content).get("manifests") or []:
        digest, platform = Digest(entry["digest"]), entry.get("platform")
        child = children.get(digest)
        if child is not None and platform is None:
            # An index within the index, or an image that only its config describes.
            found += child.platforms
        else:
            found += _platforms([(platform, digest, child.size if child else 0)])
    return tuple(found)


def _platforms(entries: Sequence[tuple[Any, Digest, int]]) -> tuple[PlatformSummary, ...]:
    found = []
    for platform, digest, size in entries:
        if not isinstance(platform, dict):
            continue
        os, architecture, variant = (
            sendable(str(platform.get(key) or ""))[:_PLATFORM_LENGTH_MAX] for key in ("os", "architecture", "variant")
        )
        if os and architecture and _UNKNOWN not in (os, architecture):
            found.append(PlatformSummary(os=os, architecture=architecture, variant=variant, digest=digest, size=size))
    return tuple(found)


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
