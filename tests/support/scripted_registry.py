"""A registry in memory that carries out a script of changes; its times and ids depend on the positions in the script.

Two registries that carry out two selections of one script give the common changes the same times and the same ids.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import UnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.events import Actor
from core.model.names import RepositoryName, Tag
from tests.support.content import descriptor, image_manifest
from tests.support.core_services import CoreServices

BEGIN = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
LAYERS = [bytes([number]) * (number + 1) * 100 for number in range(4)]


def _config(number: int) -> bytes:
    architecture = ("amd64", "arm64")[number % 2]
    return (
        f'{{"os": "linux", "architecture": "{architecture}", "created": "2026-11-{number + 1:02}T00:00:00Z", '
        f'"config": {{"Labels": {{"team": "t{number % 2}"}}}}}}'
    ).encode()


CONFIGS = [_config(number) for number in range(4)]
IMAGES = [
    image_manifest(config, LAYERS[: number + 1], annotations={"kind": f"k{number % 2}"})
    for number, config in enumerate(CONFIGS)
]
INDEX = media_types.OCI_INDEX
MANIFEST = media_types.OCI_MANIFEST


class ChangeOf(StrEnum):
    """The kind of a change in a script."""

    PUSH = "push an image by tag"
    PUSH_INDEX = "push an index of two images by tag"
    PUSH_REFERRER = "push a signature of an image"
    DELETE_TAG = "delete a tag"
    DELETE_IMAGE = "delete an image by digest"
    DELETE_REPOSITORY = "delete a repository"
    RESTORE = "restore the last deletion of a repository"


@dataclass(frozen=True)
class ScriptedChange:
    """One change of a script."""

    kind: ChangeOf
    repository: str
    tag: str
    image: int
    """Number of the image in `IMAGES`."""


class ScriptedRegistry:
    """Carries out changes; a deletion of nothing changes nothing."""

    def __init__(self) -> None:
        self._position = 0
        self._ids = iter(list[str]())
        self.services = CoreServices(
            storage=InMemoryBlobStorage(now=self.now), new_id=self._new_id, new_trash_id=self._new_id
        )
        self.registry = self.services.registry(InMemoryCatalogIndex())

    def now(self) -> datetime:
        """Return the time of the current change."""
        return BEGIN + timedelta(minutes=self._position)

    async def carry_out(self, change: ScriptedChange, position: int) -> None:
        """Carry out the change at this position of the script."""
        self._position = position
        self._ids = (f"00000000-0000-4000-8000-{position * 1_000 + number:012x}" for number in range(1_000))
        by = Actor(name=f"user-of-{change.repository.partition('/')[0]}")
        try:
            await self._carry_out(change, RepositoryName(change.repository), Tag(change.tag), by)
        except UnknownError:
            # A deletion of something that does not exist.
            return

    def _new_id(self) -> str:
        return next(self._ids)

    async def _carry_out(self, change: ScriptedChange, name: RepositoryName, tag: Tag, by: Actor) -> None:
        image = IMAGES[change.image]
        match change.kind:
            case ChangeOf.PUSH:
                await self._push(name, change.image, by, tag)
            case ChangeOf.PUSH_INDEX:
                await self._push_index(name, change.image, tag, by)
            case ChangeOf.PUSH_REFERRER:
                await self._push_referrer(name, image, by)
            case ChangeOf.DELETE_TAG:
                await self.registry.delete_manifest(name, tag, by=by)
            case ChangeOf.DELETE_IMAGE:
                await self.registry.delete_manifest(name, Digest.of(image), by=by)
            case ChangeOf.DELETE_REPOSITORY:
                await self.registry.delete_repository(name, by=by)
            case ChangeOf.RESTORE:
                await self._restore(name, by)

    async def _push(self, name: RepositoryName, number: int, by: Actor, *tags: Tag) -> None:
        for content in (CONFIGS[number], *LAYERS[: number + 1]):
            await self.services.push_blob(name, content)
        image = IMAGES[number]
        await self.registry.push_manifest(name, image, MANIFEST, by=by, digest=Digest.of(image), tags=tags)

    async def _push_index(self, name: RepositoryName, number: int, tag: Tag, by: Actor) -> None:
        numbers = (number, (number + 1) % len(IMAGES))
        for each in numbers:
            await self._push(name, each, by)
        entries = ", ".join(
            f'{{"mediaType": "{MANIFEST}", "digest": "{Digest.of(IMAGES[each])}", "size": {len(IMAGES[each])}, '
            f'"platform": {{"os": "linux", "architecture": "{("amd64", "arm64")[each % 2]}"}}}}'
            for each in numbers
        )
        index = f'{{"schemaVersion": 2, "mediaType": "{INDEX}", "manifests": [{entries}]}}'.encode()
        await self.registry.push_manifest(name, index, INDEX, by=by, tags=(tag,))

    async def _push_referrer(self, name: RepositoryName, image: bytes, by: Actor) -> None:
        await self.services.push_blob(name, b"{}")
        signature = image_manifest(b"{}", subject=descriptor(image, MANIFEST), artifactType="application/x-signature")
        await self.registry.push_manifest(name, signature, MANIFEST, by=by, digest=Digest.of(signature))

    async def _restore(self, name: RepositoryName, by: Actor) -> None:
        entries = [removal.entry async for removal in self.registry.trash.removals(name)]
        if entries:
            await self.registry.restore(entries[-1].id, by=by, force=True)
