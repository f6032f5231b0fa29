"""The manifests that an index lists: images for platforms, attestations about them, and others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from core.inspection.documents import Some, as_list, as_object, as_pairs, as_size, as_text, take
from core.model.digest import Digest
from core.model.media_types import IMAGE_CONFIGS
from core.summaries.manifest_summary import ManifestSummary

_PLATFORM_LENGTH_MAX: Final = 64
_TYPE_LENGTH_MAX: Final = 255
_UNKNOWN: Final = "unknown"
_DESCRIBES: Final = "vnd.docker.reference.digest"
"""BuildKit's annotation with the image that an attestation describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A manifest, or another content, that an index lists."""

    digest: str
    media_type: str
    artifact_type: str
    size: int
    """Size in bytes of the whole image; of the entry alone if the image is not known."""
    platform: str = ""
    """As clients write it, with the version of the operating system; empty without one."""
    is_held: bool | None = None
    """Whether the repository holds it; None if that is not known."""
    describes: str = ""
    """The digest of the image that an attestation describes."""
    annotations: Some[tuple[str, str]] = field(default_factory=Some)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexParts:
    """The entries of an index by their kinds, each in the order of the index."""

    images: Some[Entry]
    attestations: Some[Entry]
    others: Some[Entry]


def read_index(
    document: Mapping[str, Any], summary: ManifestSummary | None, children: Mapping[Digest, ManifestSummary]
) -> IndexParts:
    """Sort the entries of an index.

    Args:
        document: the index.
        summary: its summary, if it is known; it lists the contents that the repository holds.
        children: the summaries of the manifests that the repository holds, as far as they are known.
    """
    images: list[Entry] = []
    attestations: list[Entry] = []
    others: list[Entry] = []
    for value in as_list(document.get("manifests")):
        entry, is_attestation, child = _entry(as_object(value), summary, children)
        if is_attestation:
            attestations.append(entry)
        elif entry.platform or (child is not None and child.artifact_type in IMAGE_CONFIGS):
            images.append(entry)
        else:
            others.append(entry)
    return IndexParts(images=_some(images), attestations=_some(attestations), others=_some(others))


def held_children(document: Mapping[str, Any], summary: ManifestSummary | None) -> list[Digest]:
    """Return the manifests of an index that the repository certainly holds."""
    listed = {as_text(as_object(value).get("digest")) for value in as_list(document.get("manifests"))}
    return [digest for digest in summary.contents if digest in listed and digest != summary.digest] if summary else []


def _entry(
    value: Mapping[str, Any], summary: ManifestSummary | None, children: Mapping[Digest, ManifestSummary]
) -> tuple[Entry, bool, ManifestSummary | None]:
    digest = as_text(value.get("digest"))
    # A digest is a text; one that is not valid is not the key of a summary.
    child = cast("Mapping[str, ManifestSummary]", children).get(digest)
    platform, is_unknown = _platform(as_object(value.get("platform")))
    annotations = as_object(value.get("annotations"))
    describes = as_text(annotations.get(_DESCRIBES))
    if not platform and not is_unknown and child is not None and len(child.platforms) == 1:
        platform = child.platforms[0].text
    entry = Entry(
        digest=digest,
        media_type=as_text(value.get("mediaType"), _TYPE_LENGTH_MAX),
        artifact_type=as_text(value.get("artifactType"), _TYPE_LENGTH_MAX) or (child.artifact_type if child else ""),
        size=child.size if child else as_size(value.get("size")),
        platform=platform,
        is_held=None if summary is None else digest in summary.contents,
        describes=describes,
        annotations=as_pairs(annotations),
    )
    return entry, bool(describes) or is_unknown, child


def _platform(platform: Mapping[str, Any]) -> tuple[str, bool]:
    """Return a platform as text, and whether it is that of an attestation."""
    parts = [as_text(platform.get(key), _PLATFORM_LENGTH_MAX) for key in ("os", "architecture", "variant")]
    if _UNKNOWN in parts[:2]:
        return "", True
    text = "/".join(part for part in parts if part)
    version = as_text(platform.get("os.version"), _PLATFORM_LENGTH_MAX)
    return f"{text} {version}" if text and version else text, False


def _some(entries: list[Entry]) -> Some[Entry]:
    return take(entries, lambda entry: len(entry.digest) + sum(len(k) + len(v) for k, v in entry.annotations))
