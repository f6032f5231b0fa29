"""Invariants of the storage, which hold at every moment, after kills and under concurrency."""

from core.errors import BlobUnknownError, ManifestUnknownError, NameUnknownError
from core.model.digest import Digest
from core.model.manifest import read_manifest
from core.model.names import RepositoryName, Tag
from core.store import layout
from tests.support.core_services import CoreServices


async def broken_invariants(services: CoreServices, *names: RepositoryName) -> list[str]:
    """Return descriptions of the invariants that the storage violates; an empty list means a sound store."""
    broken: list[str] = []
    for name in names:
        broken += await _unpullable_tags(services, name)
        broken += await _incomplete_manifests(services, name)
        broken += await _false_blobs(services, name)
    return broken


async def tags_of(services: CoreServices, name: RepositoryName) -> list[Tag]:
    try:
        return list((await services.tags.page(name, n=None, last="")).items)
    except NameUnknownError:
        return []


async def revisions_of(services: CoreServices, name: RepositoryName) -> list[Digest]:
    keys = [key.split("/") async for key, _ in services.storage.walk(layout.revisions(name))]
    return [Digest(f"{parts[-3]}:{parts[-2]}") for parts in keys]


async def _unpullable_tags(services: CoreServices, name: RepositoryName) -> list[str]:
    broken = []
    for tag in await tags_of(services, name):
        try:
            await services.manifests.get(name, tag)
        except ManifestUnknownError:
            broken.append(f"{name}:{tag} is listed and cannot be pulled")
    return broken


async def _incomplete_manifests(services: CoreServices, name: RepositoryName) -> list[str]:
    broken = []
    for digest in await revisions_of(services, name):
        manifest = read_manifest((await services.manifests.get(name, digest)).content)
        for blob in manifest.blobs():
            try:
                await services.blobs.stat(name, blob.digest)
            except BlobUnknownError:
                broken.append(f"{name}@{digest} lacks {blob.digest}")
    return broken


async def _false_blobs(services: CoreServices, name: RepositoryName) -> list[str]:
    broken = []
    prefix = f"{layout.repository(name)}/_layers"
    for parts in [key.split("/") async for key, _ in services.storage.walk(prefix)]:
        digest = Digest(f"{parts[-3]}:{parts[-2]}")
        if Digest.of(await services.read_blob(name, digest), digest.algorithm) != digest:
            broken.append(f"{name} serves other bytes for {digest}")
    return broken
