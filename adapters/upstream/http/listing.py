"""Pages of tags and of referrers: their documents, and the link to the next page."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from yarl import URL

from core.errors import DigestInvalidError, TagInvalidError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import sendable
from core.model.names import RepositoryName, Tag

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
PAGES_MAX: Final = 10_000
_LINK: Final = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:"[^"]*"|[^\s;,"]*))*)')
_NEXT: Final = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next\b)', re.IGNORECASE)
_LINK_LENGTH_MAX: Final = 8192
_FALLBACK_ALGORITHM_LENGTH: Final = 32
_FALLBACK_ENCODED_LENGTH: Final = 64


def next_query(headers: Mapping[str, str]) -> str | None:
    """Return the encoded query of the next page, or None.

    Only the query of the link is used: its host and path may be those behind a proxy, or another server's.
    """
    for target, parameters in _LINK.findall(headers.get("Link", "")[:_LINK_LENGTH_MAX]):
        if _NEXT.search(parameters):
            try:
                return URL(target, encoded=True).raw_query_string or None
            except ValueError:
                return None
    return None


def tags_of(document: Mapping[str, Any]) -> Iterator[Tag]:
    """Yield the tags of a page; what is no tag is left out."""
    entries = document.get("tags")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, str):
            try:
                yield Tag(entry)
            except TagInvalidError:
                continue


def repositories_of(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the repositories of a page; what is no name is left out."""
    entries = document.get("repositories")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, str) and (name := RepositoryName.parse(entry)) is not None:
            yield name


def referrers_of(document: Mapping[str, Any]) -> Iterator[Descriptor]:
    """Yield the descriptors of a page; what is no usable descriptor is left out."""
    entries = document.get("manifests")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and (descriptor := _descriptor(entry)) is not None:
            yield descriptor


def fallback_tag(subject: Digest) -> Tag:
    """Return the tag of the index of referrers at registries without this API (OCI distribution-spec 1.1)."""
    return Tag(f"{subject.algorithm[:_FALLBACK_ALGORITHM_LENGTH]}-{subject.encoded[:_FALLBACK_ENCODED_LENGTH]}")


def _descriptor(entry: dict[str, Any]) -> Descriptor | None:
    digest, size, media_type = entry.get("digest"), entry.get("size"), entry.get("mediaType")
    if not isinstance(digest, str) or not isinstance(media_type, str):
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return None
    artifact_type, annotations = entry.get("artifactType"), entry.get("annotations")
    try:
        return Descriptor(
            media_type=sendable(media_type),
            digest=Digest(digest),
            size=size,
            artifact_type=sendable(artifact_type) if isinstance(artifact_type, str) and artifact_type else None,
            annotations=_annotations(annotations),
        )
    except DigestInvalidError:
        return None


def _annotations(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {}
    return {sendable(key): sendable(text) for key, text in value.items() if isinstance(text, str)}
