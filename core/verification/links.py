"""Check of a repository's blob links: each holds the digest in its key, and its data exists."""

from collections.abc import Sequence
from hashlib import md5
from typing import Final

from core.concurrency import map_bounded
from core.model.digest import Digest
from core.ports.blob_storage import ObjectStat
from core.store import layout
from core.store.link_keys import digest_at
from core.verification.context import Context, RepositoryView
from core.verification.findings import Finding, Kind, Outcome, Suspect
from core.verification.suspects import may_hold, suspect_leftover, suspect_link

BATCH: Final = 256
"""Links or manifests in memory at a time. The requests for a batch run concurrently."""


class LayerLinkCheck:
    """Checks every `_layers` link of a repository."""

    def __init__(self, context: Context, view: RepositoryView) -> None:
        self._context = context
        self._view = view
        self._dangling: list[tuple[str, Digest]] = []

    async def run(self) -> list[Suspect]:
        """Record the linked digests in the view, and return suspects.

        One request for each link whose content cannot be inferred from the listing.
        """
        suspects: list[Suspect] = []
        prefix = layout.layers(self._view.name)
        batch: list[tuple[str, ObjectStat]] = []
        async for entry in self._context.reader.walk(prefix):
            batch.append(entry)
            if len(batch) == BATCH:
                suspects += await self._check_all(batch)
                batch = []
        return suspects + await self._check_all(batch)

    def dangling(self) -> list[Suspect]:
        """Return suspects about links whose data is gone and that no manifest needs. Other links wait for a push."""
        return [
            self._suspect_dangling(key, target)
            for key, target in self._dangling
            if target not in self._view.needed_lost
        ]

    async def _check_all(self, batch: Sequence[tuple[str, ObjectStat]]) -> list[Suspect]:
        verdicts = await map_bounded(self._check, batch)
        return [suspect for suspect in verdicts if suspect is not None]

    async def _check(self, entry: tuple[str, ObjectStat]) -> Suspect | None:
        key, stat = entry
        digest = digest_of_link(key)
        if digest is None or key != layout.layer_link(self._view.name, digest):
            return suspect_leftover(self._context, key)
        target: Digest | None = digest
        if not holds_digest(stat, digest):
            target = (await self._context.reader.link(key)).target
            if not may_hold(digest, target):
                return suspect_link(self._context, key, digest)
        # Distribution stores content pushed by sha512 under its sha256 digest; the sha512 link holds the sha256 digest.
        self._view.layers.put(digest, number=int(target != digest))
        if target is not None and await self._context.blob_size(target) is None:
            self._dangling.append((key, target))
        return None

    def _suspect_dangling(self, key: str, target: Digest) -> Suspect:
        async def recheck() -> Finding | None:
            # Check the data, then the link: a push writes in this order, and collection removes in the reverse order.
            if await self._context.size_now(target) is not None:
                return None
            if (await self._context.reader.link(key)).target != target:
                return None
            return Finding(
                kind=Kind.LAYER_WITHOUT_DATA,
                key=key,
                repository=self._view.name,
                digest=target,
                detail="blob data is missing; no manifest of the repository refers to the blob",
            )

        async def is_wanted() -> bool:
            return await self._context.size_now(target) is not None

        async def repair() -> Outcome | None:
            return await self._context.repairer.remove_link(key, target, is_wanted=is_wanted)

        return Suspect(recheck, repair)


def digest_of_link(key: str) -> Digest | None:
    """Return the digest in the key of a link, `…/<alg>/<hex>/link`, or None for any other key."""
    match key.rsplit("/", 3):
        case [_, algorithm, encoded, "link"]:
            return digest_at(algorithm, encoded)
        case _:
            return None


def holds_digest(stat: ObjectStat, digest: Digest) -> bool:
    """Whether the checksum in a listing proves that a link holds this digest."""
    if stat.md5 is None or stat.size != len(digest):
        return False
    return stat.md5 == md5(digest.encode("ascii"), usedforsecurity=False).hexdigest()
