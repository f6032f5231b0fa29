"""The index of referrers under a fallback tag, for registries without the referrers API.

OCI distribution-spec 1.1, "Referrers Tag Schema".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from core.errors import ManifestInvalidError
from core.model.digest import Digest
from core.model.manifest import parse_manifest
from core.model.media_types import OCI_INDEX
from core.model.names import Tag
from core.ports.registry_target import NewManifest

_FALLBACK_ENTRIES_MAX: Final = 1_000


def fallback_tag(subject: Digest) -> Tag:
    """Return the tag under which clients keep the referrers of a manifest."""
    return Tag(f"{subject.algorithm[:32]}-{subject.encoded[:64]}")


def fallback_entries(index: NewManifest | None) -> list[Mapping[str, object]]:
    """Return the entries of the index under a fallback tag; none if there is no index.

    Raises:
        ManifestInvalidError: the content is not an index, or has too many entries.
    """
    if index is None:
        return []
    manifest = parse_manifest(index.content, index.media_type)
    if len(manifest.manifests) >= _FALLBACK_ENTRIES_MAX:
        raise ManifestInvalidError(f"the fallback tag lists more than {_FALLBACK_ENTRIES_MAX} referrers")
    # The entries keep members, such as annotations, that `Manifest` does not.
    entries: list[Mapping[str, object]] = json.loads(index.content).get("manifests") or []
    return entries


def render_fallback(entries: Sequence[Mapping[str, object]]) -> bytes:
    """Return an index of referrers."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
