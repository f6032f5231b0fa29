"""The repositories of the upstream server."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.support.oci import OCI_INDEX, Image, Index, contents_of, digest_of


@dataclass
class Repository:
    """Manifests with their media types, tags and blobs, by digest or name."""

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def manifest(self, reference: str) -> tuple[str, str, bytes] | None:
        """Return digest, media type and bytes of a manifest by tag or digest."""
        digest = reference if ":" in reference else self.tags.get(reference, "")
        held = self.manifests.get(digest)
        return (digest, *held) if held else None

    def referrers(self, subject: str) -> list[dict[str, Any]]:
        """Return the descriptors of the manifests with this subject."""
        found = []
        for digest, (media_type, content) in self.manifests.items():
            document = json.loads(content)
            if document.get("subject", {}).get("digest") == subject:
                kind = document.get("artifactType") or document.get("config", {}).get("mediaType")
                entry = {"mediaType": media_type, "digest": digest, "size": len(content), "artifactType": kind}
                if annotations := document.get("annotations"):
                    entry["annotations"] = annotations
                found.append(entry)
        return found


class UpstreamContent:
    """Repositories by name. Any thread may add content while the server runs."""

    def __init__(self) -> None:
        self.repositories: defaultdict[str, Repository] = defaultdict(Repository)

    def add(self, name: str, root: Image | Index, *tags: str) -> str:
        """Add an image, an artifact or an index with all that belongs to it; return its digest."""
        repository = self.repositories[name]
        images = root.images if isinstance(root, Index) else (root,)
        manifests = {root.digest, *(image.digest for image in images)}
        for content in contents_of(root):
            if content.digest in manifests:
                repository.manifests[content.digest] = (content.media_type, content.data)
            else:
                repository.blobs[content.digest] = content.data
        return self.tag(name, root.digest, *tags)

    def add_manifest(self, name: str, content: bytes, media_type: str, *tags: str) -> str:
        """Add any bytes as a manifest; return the digest."""
        digest = digest_of(content)
        self.repositories[name].manifests[digest] = (media_type, content)
        return self.tag(name, digest, *tags)

    def add_blob(self, name: str, content: bytes) -> str:
        """Add a blob; return its digest."""
        digest = digest_of(content)
        self.repositories[name].blobs[digest] = content
        return digest

    def replace_blob(self, name: str, digest: str, content: bytes) -> None:
        """Serve other bytes under the digest of a blob."""
        self.repositories[name].blobs[digest] = content

    def replace_manifest(self, name: str, digest: str, content: bytes) -> None:
        """Serve other bytes under the digest of a manifest."""
        media_type, _ = self.repositories[name].manifests[digest]
        self.repositories[name].manifests[digest] = (media_type, content)

    def tag(self, name: str, digest: str, *tags: str) -> str:
        """Point tags at a manifest; return its digest."""
        self.repositories[name].tags.update(dict.fromkeys(tags, digest))
        return digest

    def remove_tag(self, name: str, tag: str) -> None:
        """Remove a tag."""
        del self.repositories[name].tags[tag]

    def remove_manifest(self, name: str, digest: str) -> None:
        """Remove a manifest and its tags."""
        repository = self.repositories[name]
        del repository.manifests[digest]
        repository.tags = {tag: held for tag, held in repository.tags.items() if held != digest}

    def remove_blob(self, name: str, digest: str) -> None:
        """Remove a blob."""
        del self.repositories[name].blobs[digest]

    def add_fallback_tag(self, name: str, subject: str) -> str:
        """List the referrers of a manifest in an index under the fallback tag, as clients of old registries do."""
        entries = self.repositories[name].referrers(subject)
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return self.add_manifest(name, json.dumps(document).encode(), OCI_INDEX, subject.replace(":", "-"))
