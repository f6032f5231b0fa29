"""The summary of one manifest, for lists and pages: of an image, an index or an artifact."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from core.model.digest import Digest
from core.model.manifest import Manifest

_UNKNOWN: Final = "unknown"
"""Operating system and architecture of attestations in an index."""


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

    @property
    def size(self) -> int:
        """Total size in bytes of the distinct content."""
        return sum(self.contents.values())


def summarize(
    manifest: Manifest, digest: Digest, *, config: bytes | None, children: Mapping[Digest, ManifestSummary]
) -> ManifestSummary:
    """Summarize a manifest.

    Args:
        manifest: the parsed manifest.
        digest: its digest.
        config: the content of the config, if it is that of an image and could be read.
        children: the summaries of the manifests that an index lists, without those that the repository lacks.
    """
    image = _read_config(config)
    contents = {digest: len(manifest.content)} | {blob.digest: blob.size for blob in manifest.blobs()}
    for child in children.values():
        contents |= child.contents
    platforms = _index_platforms(manifest, children) if manifest.is_index else _image_platforms(image, digest, contents)
    created = image.get("created") or manifest.annotations.get("org.opencontainers.image.created")
    return ManifestSummary(
        digest=digest,
        media_type=manifest.media_type,
        artifact_type=manifest.describe(digest).artifact_type or "",
        contents=contents,
        platforms=platforms,
        created=_moment(created),
        annotations=manifest.annotations,
        labels=_labels(image),
        subject=manifest.subject.digest if manifest.subject else None,
        is_complete=all(entry.digest in children for entry in manifest.manifests),
    )


def _read_config(content: bytes | None) -> Mapping[str, Any]:
    try:
        document = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _labels(image: Mapping[str, Any]) -> Mapping[str, str]:
    config = image.get("config")
    labels = config.get("Labels") if isinstance(config, dict) else None
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def _image_platforms(
    image: Mapping[str, Any], digest: Digest, contents: Mapping[Digest, int]
) -> tuple[PlatformSummary, ...]:
    return _platforms([(image, digest, sum(contents.values()))])


def _index_platforms(manifest: Manifest, children: Mapping[Digest, ManifestSummary]) -> tuple[PlatformSummary, ...]:
    entries = json.loads(manifest.content).get("manifests") or []
    found = [(entry.get("platform"), Digest(entry["digest"])) for entry in entries]
    return _platforms(
        [(platform, digest, children[digest].size if digest in children else 0) for platform, digest in found]
    )


def _platforms(entries: Sequence[tuple[Any, Digest, int]]) -> tuple[PlatformSummary, ...]:
    found = []
    for platform, digest, size in entries:
        if not isinstance(platform, dict):
            continue
        os, architecture, variant = (str(platform.get(key) or "") for key in ("os", "architecture", "variant"))
        if os and architecture and _UNKNOWN not in (os, architecture):
            found.append(PlatformSummary(os=os, architecture=architecture, variant=variant, digest=digest, size=size))
    return tuple(found)


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
