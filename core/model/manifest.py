"""Manifests: parsed and checked, kept as the exact bytes that were pushed.

`parse_manifest` reads a manifest that a client pushes. `read_manifest` reads a stored manifest: the store records no
media type, so the document determines it. No function serialises a document again, because the digest covers the exact
bytes.

A store may also hold manifests of foreign media types, which other registries accepted but clients cannot push here.
They are served under their own media type. Their members are read where they match those of the known types.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeVar

from core.errors import DigestInvalidError, ManifestInvalidError
from core.json_text import load_json
from core.model import media_types
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.freshness import Freshness

PUSHED_MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024
"""Maximum size of a pushed manifest (OCI distribution-spec 1.1, "Pushing Manifests": at least 4 MB)."""
STORED_MANIFEST_BYTES_MAX: Final = 16 * 1024 * 1024
"""Maximum size of a stored manifest; old registries had no limit for pushes."""
DESCRIPTORS_MAX: Final = 10_000
"""Maximum number of layers or entries in a pushed manifest; images have at most 127 layers."""
_PARTS_MAX: Final = 300_000
"""Maximum number of `[`, `{` and `,` bytes in a pushed manifest, including those inside strings.

Parsing holds the interpreter's lock, and turns 4 MiB of empty lists into 120 MiB of objects.
"""
_SCHEMA_VERSION: Final = 2
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}", re.ASCII)
"""RFC 6838, section 4.2."""
_ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_SNIFFED_CONTENT_TYPES: Final = frozenset({"", "application/json", media_types.OCTET_STREAM})
"""Content types that carry no information; the document's own `mediaType` applies instead."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image manifest or an index, of OCI or Docker."""

    content: bytes
    media_type: str
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    """For an index, the same as `others`."""
    manifests: tuple[Descriptor, ...] = ()
    """The entries of an index that are certainly manifests (`media_types.is_manifest`)."""
    others: tuple[Descriptor, ...] = ()
    """The other entries of an index: each is a manifest if the repository holds one of that digest, else a blob."""
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_index(self) -> bool:
        """Whether this is an index."""
        return self.media_type in media_types.INDEXES

    def blobs(self) -> tuple[Descriptor, ...]:
        """Return the config and the layers, in document order."""
        return (self.config, *self.layers) if self.config else self.layers

    def describe(self, digest: Digest) -> Descriptor:
        """Return this manifest's entry in a list of referrers (OCI distribution-spec 1.1, end-12a)."""
        artifact_type = self.artifact_type
        if not artifact_type and self.config:
            artifact_type = self.config.media_type
        return Descriptor(
            media_type=self.media_type,
            digest=digest,
            size=len(self.content),
            artifact_type=artifact_type,
            annotations=self.annotations,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredManifest:
    """A manifest as it is served: exact bytes, media type and digest."""

    content: bytes
    media_type: str
    digest: Digest
    freshness: Freshness | None = None
    """How the cache obtained a manifest of a cached repository; None for a local repository."""


def parse_manifest(content: bytes, content_type: str) -> Manifest:
    """Parse and check a pushed manifest.

    Args:
        content: the exact bytes.
        content_type: the request's `Content-Type`; parameters are ignored.

    Raises:
        ManifestInvalidError: the content is not JSON, has an unsupported type or contradictory members, has more than
            `DESCRIPTORS_MAX` entries or too many parts, or contains an unpaired surrogate, which cannot be encoded.
        DigestInvalidError: a descriptor's digest is malformed or of an unsupported algorithm.
    """
    announced = content_type.partition(";")[0].strip().lower()
    if has_too_many_parts(content):
        raise ManifestInvalidError("manifest has too many lists, objects and members")
    document = _load(content)
    _require_sendable(content, document)
    _require_bounded(document)
    if announced in media_types.SCHEMA1 or document.get("schemaVersion") == 1:
        raise ManifestInvalidError(
            "schema 1 manifests are not accepted; push with a client that supports schema 2 or OCI"
        )
    if announced in _SNIFFED_CONTENT_TYPES:
        announced = _sniff(document)
    elif announced not in media_types.MANIFESTS:
        raise ManifestInvalidError("unsupported manifest media type", detail={"mediaType": announced[:256]})
    return _build(content, document, announced)


def has_too_many_parts(content: bytes) -> bool:
    """Whether a document would need too much memory when parsed. To be checked for content from outside."""
    return sum(map(content.count, (b"[", b"{", b","))) > _PARTS_MAX


def read_manifest(content: bytes) -> Manifest:
    """Read a stored manifest. The document's `mediaType`, or else its members, determine the type.

    Raises:
        ManifestInvalidError: the content cannot be read as a manifest.
        DigestInvalidError: a descriptor's digest is malformed.
    """
    document = _load(content)
    media_type = _foreign_type(document)
    if media_type is not None and media_types.looks_like_manifest(media_type):
        return _describe(content, document, media_type)
    return _build(content, document, _sniff(document))


def read_if_manifest(content: bytes) -> Manifest | None:
    """Read a stored manifest like `read_manifest`; return None for schema 1 and for content that is no manifest."""
    try:
        return read_manifest(content)
    except (ManifestInvalidError, DigestInvalidError):
        return None


def stored_media_type(content: bytes) -> str:
    """Return the media type under which a stored manifest is served.

    Raises:
        ManifestInvalidError: the content is neither a manifest nor a JSON object of a foreign media type.
        DigestInvalidError: a descriptor's digest is malformed.
    """
    document = _load(content)
    return _foreign_type(document) or _build(content, document, _sniff(document)).media_type


def is_served(content: bytes) -> bool:
    """Whether a stored manifest has a media type under which it can be served."""
    try:
        stored_media_type(content)
    except (ManifestInvalidError, DigestInvalidError):
        return False
    return True


def _foreign_type(document: Mapping[str, object]) -> str | None:
    own = document.get("mediaType")
    if not isinstance(own, str) or own in media_types.MANIFESTS or document.get("schemaVersion") == 1:
        return None
    return own if _MEDIA_TYPE.fullmatch(own) else None


def _load(content: bytes) -> dict[str, object]:
    try:
        # Decode first: json.loads would also accept UTF-16 and UTF-32, which other clients cannot read.
        document = load_json(content.decode("utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise ManifestInvalidError(f"manifest is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise ManifestInvalidError("manifest is not a JSON object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _sniff(document: Mapping[str, object]) -> str:
    own = document.get("mediaType")
    if isinstance(own, str) and own in media_types.MANIFESTS:
        return own
    if own:
        raise ManifestInvalidError("unsupported manifest media type", detail={"mediaType": str(own)[:256]})
    return media_types.OCI_INDEX if "manifests" in document else media_types.OCI_MANIFEST


def _build(content: bytes, document: Mapping[str, object], media_type: str) -> Manifest:
    version = document.get("schemaVersion")
    if version != _SCHEMA_VERSION or isinstance(version, bool):
        raise ManifestInvalidError(
            f"schemaVersion must be {_SCHEMA_VERSION}", detail={"schemaVersion": str(version)[:32]}
        )
    _check_media_type(document, media_type)
    is_index = media_type in media_types.INDEXES
    # A document with the members of both could be read one way here and another way by a client (CVE-2021-41190).
    for foreign in ("config", "layers") if is_index else ("manifests",):
        if foreign in document:
            raise ManifestInvalidError(f"{media_type} must not have {foreign!r}")
    if not is_index and document.get("config") is None:
        raise ManifestInvalidError("image manifest has no config")
    return _describe(content, document, media_type)


def _describe(content: bytes, document: Mapping[str, object], media_type: str) -> Manifest:
    entries = _list(document, "manifests")
    others = tuple(entry for entry in entries if not media_types.is_manifest(entry.media_type))
    return Manifest(
        content=content,
        media_type=media_type,
        config=_optional(document, "config", _descriptor),
        layers=(
            *_list(document, "layers"),
            *(_list(document, "blobs") if media_type not in media_types.MANIFESTS else ()),
            *others,
        ),
        manifests=tuple(entry for entry in entries if media_types.is_manifest(entry.media_type)),
        others=others,
        subject=_optional(document, "subject", _descriptor),
        artifact_type=_optional(document, "artifactType", _text),
        annotations=_optional(document, "annotations", _text_map) or {},
    )


def _check_media_type(document: Mapping[str, object], media_type: str) -> None:
    own = document.get("mediaType")
    if own == media_type or (not own and media_type not in media_types.DOCKER):
        return
    raise ManifestInvalidError(
        "mediaType in the manifest does not match its Content-Type",
        detail={"mediaType": str(own)[:256], "contentType": media_type},
    )


def _optional(document: Mapping[str, object], member: str, read: Callable[[object, str], T]) -> T | None:
    value = document.get(member)
    return None if value is None else read(value, member)


def _list(document: Mapping[str, object], member: str) -> tuple[Descriptor, ...]:
    # Go serialises an empty slice as null.
    value = document.get(member)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ManifestInvalidError(f"{member} is not a list")
    return tuple(_descriptor(entry, f"{member}[{position}]") for position, entry in enumerate(value))


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalidError(f"{where} is not a descriptor")
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str):
        raise ManifestInvalidError(f"{where} has no digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ManifestInvalidError(f"{where} has no size")
    urls = value.get("urls") or []
    if not isinstance(urls, list):
        raise ManifestInvalidError(f"{where}.urls is not a list")
    return Descriptor(
        media_type=_text(value.get("mediaType") or "", f"{where}.mediaType"),
        digest=Digest(digest),
        size=size,
        urls=tuple(_text(url, f"{where}.urls") for url in urls),
        platform=_optional(value, "platform", _platform),
    )


def _platform(value: object, where: str) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise ManifestInvalidError(f"{where} is not an object")
    return (str(value.get("os", "")), str(value.get("architecture", "")))


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ManifestInvalidError(f"{where} is not a string")
    return sendable(value)


def _text_map(value: object, where: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise ManifestInvalidError(f"{where} is not a map of strings")
    return {sendable(key): sendable(entry) for key, entry in value.items()}


def sendable(text: str) -> str:
    """Replace each unpaired surrogate with U+FFFD."""
    # JSON can escape an unpaired surrogate, which no encoding can represent. A store may hold such text. Listings show
    # U+FFFD instead; the manifest itself is served by its exact bytes.
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _require_sendable(content: bytes, document: object) -> None:
    if _ESCAPED_SURROGATE.search(content) is None:
        return
    for text in _texts(document):
        if sendable(text) != text:
            raise ManifestInvalidError("manifest contains an unpaired surrogate, which is not valid text")


def _texts(document: object) -> Iterator[str]:
    """Yield all strings of a JSON document, keys included."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]


def _require_bounded(document: Mapping[str, object]) -> None:
    for member in ("layers", "manifests"):
        entries = document.get(member)
        if isinstance(entries, list) and len(entries) > DESCRIPTORS_MAX:
            raise ManifestInvalidError(
                f"{member} has more than {DESCRIPTORS_MAX} entries", detail={"entries": len(entries)}
            )
