"""Simplified garbage collection for tests of the trash: everything untagged moves to the trash in one step."""

from core.errors import ObjectNotFoundError
from core.model.digest import Digest
from core.model.manifest import read_manifest
from core.model.names import RepositoryName
from core.store import layout
from core.store.link_keys import LayerKey, ReferrerKey, RevisionKey, TagKey, parse_link_key
from core.store.links import RemovedLink
from core.trash.entry import TrashEntry, TrashKind
from tests.support.core_services import CoreServices


async def collect(services: CoreServices) -> TrashEntry:
    """Move all content that no tag leads to, untagged manifests included, to the trash as one entry."""
    links = {key: parse_link_key(key) for key in await services.keys(layout.REPOSITORIES)}
    kept: set[tuple[RepositoryName, Digest]] = set()
    for link in links.values():
        if isinstance(link, TagKey) and (target := await services.tag_links.resolve(link.name, link.tag)):
            await _mark(services, link.name, target, kept)
    removed = [
        RemovedLink(key, link.digest)
        for key, link in links.items()
        if isinstance(link, RevisionKey | LayerKey | ReferrerKey) and (link.name, link.digest) not in kept
    ]
    reachable = {digest for _, digest in kept}
    blobs = [digest for digest in map(_digest_of, await services.keys(layout.BLOBS)) if digest not in reachable]
    entry = services.trash.new_entry(TrashKind.COLLECTION)
    await services.trash.record(entry, links=removed, blobs=blobs)
    await services.storage.delete([link.key for link in removed])
    for digest in blobs:
        await services.trash.move_blob(digest, entry)
    return entry


async def _mark(
    services: CoreServices, name: RepositoryName, digest: Digest, kept: set[tuple[RepositoryName, Digest]]
) -> None:
    kept.add((name, digest))
    try:
        manifest = read_manifest(await services.storage.read(layout.blob_data(digest)))
    except ObjectNotFoundError:
        return
    kept |= {(name, blob.digest) for blob in manifest.blobs()}
    for child in manifest.manifests:
        await _mark(services, name, child.digest, kept)
    for key in await services.keys(layout.referrers(name, digest)):
        link = parse_link_key(key)
        if isinstance(link, ReferrerKey):
            await _mark(services, name, link.digest, kept)


def _digest_of(key: str) -> Digest:
    algorithm, _, encoded, _ = key.removeprefix(f"{layout.BLOBS}/").split("/")
    return Digest(f"{algorithm}:{encoded}")
