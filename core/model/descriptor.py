"""Descriptors: references to content by media type, digest and size (OCI image-spec, descriptor.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.model.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Media type, digest and size in bytes of some content, with the properties given by the referring document."""

    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    platform: tuple[str, str] | None = None
    """Operating system and architecture, for an entry of an index."""

    def as_json(self) -> dict[str, object]:
        """Return the OCI JSON object for an entry in a list of referrers; empty members are omitted."""
        document: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document
