"""The stored form of the summaries of one repository's manifests.

The object is a version, then compressed JSON. Blobs are numbered, so that layers that many images share are written
once. The form depends on nothing but the content of manifests: it is never outdated, and rebuilt where it is missing.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from core.errors import DigestInvalidError
from core.json_text import load_json
from core.model.digest import Digest
from core.summaries.manifest_summary import ManifestSummary, PlatformSummary

_VERSION: Final = b"1"
STORED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Maximum size in bytes of the object."""
_TEXT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Maximum size in bytes before compression. Summaries beyond it are not stored, but built when they are needed."""
_LEVEL: Final = 6


class SummariesUnreadableError(ValueError):
    """The content is not a set of summaries of this version."""


def encode_summaries(summaries: Iterable[ManifestSummary], *, size_max: int = _TEXT_BYTES_MAX) -> bytes:
    """Return the stored form of summaries; the last ones are left out if it would become too large."""
    numbers: dict[tuple[Digest, int], int] = {}
    manifests: list[dict[str, Any]] = []
    size = 0
    for summary in summaries:
        known = len(numbers)
        document = _document(summary, numbers)
        # 160 bytes at most for each new blob.
        size += len(json.dumps(document, separators=(",", ":"))) + 160 * (len(numbers) - known)
        if size > size_max:
            break
        manifests.append(document)
    document = {"blobs": [[digest, length] for digest, length in numbers], "manifests": manifests}
    return _VERSION + b"\n" + zlib.compress(json.dumps(document, separators=(",", ":")).encode(), _LEVEL)


def decode_summaries(content: bytes, *, size_max: int = 2 * _TEXT_BYTES_MAX) -> Mapping[Digest, ManifestSummary]:
    """Return the summaries with this stored form. Uses bounded memory whatever the content.

    Raises:
        SummariesUnreadableError: another release wrote it, or it is damaged.
    """
    try:
        document = load_json(unpack(content, _VERSION, size_max))
        blobs = [(Digest(digest), int(length)) for digest, length in document["blobs"]]
        summaries = [_summary(entry, blobs) for entry in document["manifests"]]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, DigestInvalidError) as error:
        raise SummariesUnreadableError(f"{type(error).__name__}: {error}") from error
    return {summary.digest: summary for summary in summaries}


def unpack(content: bytes, version: bytes, size_max: int) -> bytes:
    """Return the text of an object that begins with this version.

    Raises:
        SummariesUnreadableError: another release wrote it, or it is damaged.
    """
    found, _, compressed = content.partition(b"\n")
    if found != version:
        raise SummariesUnreadableError("another version")
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(compressed, size_max)
    except zlib.error as error:
        raise SummariesUnreadableError(str(error)) from error
    if not reader.eof:
        raise SummariesUnreadableError("too large, or incomplete")
    return text


def _document(summary: ManifestSummary, numbers: dict[tuple[Digest, int], int]) -> dict[str, Any]:
    contents = [numbers.setdefault(content, len(numbers)) for content in summary.contents.items()]
    platforms = [[each.os, each.architecture, each.variant, each.digest, each.size] for each in summary.platforms]
    members = {
        "digest": summary.digest,
        "mediaType": summary.media_type,
        "artifactType": summary.artifact_type,
        "contents": contents,
        "platforms": platforms,
        "created": summary.created.isoformat() if summary.created else None,
        "annotations": dict(summary.annotations),
        "labels": dict(summary.labels),
        "subject": summary.subject,
        "isIncomplete": not summary.is_complete,
    }
    return {key: value for key, value in members.items() if value}


def _summary(entry: Mapping[str, Any], blobs: list[tuple[Digest, int]]) -> ManifestSummary:
    created, subject = entry.get("created"), entry.get("subject")
    return ManifestSummary(
        digest=Digest(entry["digest"]),
        media_type=str(entry["mediaType"]),
        artifact_type=str(entry.get("artifactType", "")),
        contents=dict(blobs[number] for number in entry.get("contents", ())),
        platforms=tuple(
            PlatformSummary(
                os=str(os), architecture=str(architecture), variant=str(variant), digest=Digest(digest), size=int(size)
            )
            for os, architecture, variant, digest, size in entry.get("platforms", ())
        ),
        created=datetime.fromisoformat(created) if created else None,
        annotations=dict(entry.get("annotations", {})),
        labels=dict(entry.get("labels", {})),
        subject=Digest(subject) if subject else None,
        is_complete=not entry.get("isIncomplete", False),
    )
