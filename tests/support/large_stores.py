"""Objects of a store with thousands of repositories and tags, without a registry that pushes them.

The objects have distribution's layout. Layers have neither data nor links, because lists read only manifests and
configs.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.model.media_types import OCI_MANIFEST
from tests.support.oci import OCI_CONFIG, OCI_LAYER, digest_of
from tests.support.scs_server.store import Bucket, Segment, StoredObject

ROOT = "docker/registry/v2"
LAST_PUSH = datetime(2026, 11, 1, tzinfo=UTC)
LAYERS = 6
SHARED_LAYERS = 4
"""Number of layers that all images have in common."""


@dataclass(frozen=True)
class LargeObject:
    """One object of a store."""

    key: str
    """The key, without a slash at the beginning."""
    content: bytes
    modified_at: datetime


def tagged_images(repository: str, tags: Iterable[str], *, first: int = 0) -> Iterator[LargeObject]:
    """Yield the objects of a repository in which each tag has an image of its own.

    Args:
        repository: the name.
        tags: the tags; each was pushed a minute earlier than the one before.
        first: number of the first image; different numbers are different images.
    """
    manifests, layers = (f"{ROOT}/repositories/{repository}/{part}" for part in ("_manifests", "_layers"))
    for number, tag in enumerate(tags, first):
        at = LAST_PUSH - timedelta(minutes=number)
        config = _config(number)
        manifest = _manifest(number, config)
        digest = digest_of(manifest)
        link = digest.encode()
        path = digest.replace(":", "/")
        yield LargeObject(_blob(digest), manifest, at)
        yield LargeObject(_blob(digest_of(config)), config, at)
        yield LargeObject(f"{layers}/{digest_of(config).replace(':', '/')}/link", digest_of(config).encode(), at)
        yield LargeObject(f"{manifests}/revisions/{path}/link", link, at)
        yield LargeObject(f"{manifests}/tags/{tag}/current/link", link, at)
        yield LargeObject(f"{manifests}/tags/{tag}/index/{path}/link", link, at)


def write_to_folder(storage: Path, objects: Iterable[LargeObject]) -> None:
    """Write objects as files."""
    for stored in objects:
        path = f"{storage}/{stored.key}"
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - called 100,000 times
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(stored.content)
        seconds = stored.modified_at.timestamp()
        os.utime(path, (seconds, seconds))


def write_to_bucket(bucket: Bucket, objects: Iterable[LargeObject]) -> None:
    """Put objects into a bucket of the SCS endpoint; quick, because they come in the order of their keys."""
    for stored in sorted(objects, key=lambda each: each.key):
        etag = digest_of(stored.content, "md5").partition(":")[2]
        segment = Segment(stored.content, len(stored.content))
        bucket.put(stored.key, StoredObject([segment], etag, "application/octet-stream", stored.modified_at))


def _config(number: int) -> bytes:
    created = LAST_PUSH - timedelta(minutes=number + 5)
    labels = {
        "org.opencontainers.image.title": "app",
        "org.opencontainers.image.revision": f"{number:040x}",
        "team": f"team-{number % 50}",
    }
    document = {
        "os": "linux",
        "architecture": ("amd64", "arm64")[number % 2],
        "created": created.isoformat(),
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["/app"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in _layers(number)]},
        "history": [{"created_by": f"step {step}"} for step in range(LAYERS)],
    }
    return json.dumps(document).encode()


def _manifest(number: int, config: bytes) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": _layers(number),
        "annotations": {"org.opencontainers.image.version": f"1.{number}"},
    }
    return json.dumps(document).encode()


def _layers(number: int) -> list[dict[str, object]]:
    shared = [(f"shared {step}", 5_000_000 * (step + 1)) for step in range(SHARED_LAYERS)]
    own = [(f"own {number} {step}", 1_000_000 * (step + 1) + number) for step in range(LAYERS - SHARED_LAYERS)]
    return [
        {"mediaType": OCI_LAYER, "digest": digest_of(content.encode()), "size": size} for content, size in shared + own
    ]


def _blob(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"{ROOT}/blobs/{algorithm}/{encoded[:2]}/{encoded}/data"
