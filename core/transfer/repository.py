"""Copy of one repository that keeps the target consistent at every moment, even if the copy is killed.

The order is that of docs/adr/0002: a blob's data, then its layer link; signatures and referrer links; a manifest's
data, then its revision link, children before the index that lists them; tags last, `current` before the history.
Content that the source does not have intact is reported and left out, with everything that refers to it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from core.collection.guard import Need
from core.concurrency import for_each, stream
from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.media_types import NONDISTRIBUTABLE_LAYERS
from core.model.names import RepositoryName, Tag
from core.model.schema1 import schema1_layers
from core.store import layout
from core.store.links import parse_link
from core.store.stored_manifests import ManifestProblem, ManifestState, read_stored_manifest
from core.transfer.blobs import BlobTransfer, TransferOutcome
from core.transfer.comparison import Comparison, Differences, TagChange, digest_of_link
from core.transfer.context import CopyContext
from core.transfer.tally import Trouble

_TROUBLES: Final = {
    TransferOutcome.MISSING: (Trouble.MISSING, "data is missing at the source"),
    TransferOutcome.DAMAGED: (Trouble.DAMAGED, "data at the source does not match the digest"),
}
_DEFECTS: Final[Mapping[ManifestProblem | None, tuple[Trouble, str]]] = {
    ManifestProblem.MISSING: _TROUBLES[TransferOutcome.MISSING],
    ManifestProblem.CORRUPT: _TROUBLES[TransferOutcome.DAMAGED],
    ManifestProblem.TOO_LARGE: (Trouble.DAMAGED, "too large for a manifest"),
}
"""Problems of a manifest that cannot be copied."""

_ATTEMPTS: Final = 3
"""Attempts to copy content that garbage collection removes during the copy. One retry is usually enough."""


@dataclass(slots=True, kw_only=True)
class _State:
    """Progress of the copy of one repository."""

    name: RepositoryName
    found: Differences
    lost: set[Digest] = field(default_factory=set)
    """Content that cannot be copied: damaged, missing or incomplete."""
    whole: set[Digest] = field(default_factory=set)
    """Manifests that are complete at the target."""
    linked: set[Digest] = field(default_factory=set)
    """Blobs that the source links."""
    unfetched: set[Digest] = field(default_factory=set)
    """Images of a cache whose blobs were never pulled. An index is copied without them."""
    waiting: list[Digest] = field(default_factory=list)
    """Indexes whose children must be copied first."""

    @property
    def decided(self) -> set[Digest]:
        """The manifests that are copied, or that are left out."""
        return self.whole | self.lost | self.unfetched


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """Outcome for one repository."""

    has_manifest: bool
    """Whether the target holds a manifest of the source."""
    is_new: bool
    """Whether the target held no manifest before, and the source has some."""
    is_changed: bool
    """Whether a manifest or a tag was copied."""


class RepositoryTransfer:
    """Copies repositories. One instance per pass."""

    def __init__(self, context: CopyContext, comparison: Comparison, blobs: BlobTransfer) -> None:
        self._context = context
        self._source = context.source
        self._comparison = comparison
        self._blobs = blobs

    async def copy(
        self, name: RepositoryName, found: Differences, *, announce: Callable[[], Awaitable[None]]
    ) -> Copied:
        """Copy everything that the target lacks.

        Args:
            name: the repository.
            found: its differences.
            announce: called if the target holds no manifest yet, after all blobs are copied and before any manifest.

        Raises:
            StorageUnavailableError: a storage failed. The target is consistent, and another copy continues from there.
        """
        state = _State(name=name, found=found, whole=set(found.present_revisions))
        await for_each(lambda key: self._layer(state, key), self._comparison.layers(name))
        await for_each(lambda key: self._signature(state, key), stream(found.signatures))
        await for_each(lambda key: self._write_link(f"{layout.all_referrers(name)}/{key}"), stream(found.referrers))
        is_new = bool(found.revisions) and not (found.present_revisions or found.extra_revisions)
        if is_new:
            await announce()
        await self._manifests(state)
        if self._context.rereads_target:
            await for_each(lambda digest: self._present_manifest(state, digest), stream(found.present_revisions))
        await for_each(lambda item: self._tag(state, *item), stream(found.tags.items()))
        for tag in found.phantoms:
            await self._report_phantom(name, tag)
        is_changed = bool(found.tags) or len(state.whole) > len(found.present_revisions)
        return Copied(has_manifest=bool(state.whole), is_new=is_new, is_changed=is_changed)

    async def _layer(self, state: _State, key: str) -> None:
        if (digest := digest_of_link(key)) is not None:
            state.linked.add(digest)
        is_present = key in state.found.present_layers
        state.found.present_layers.discard(key)
        if is_present and not self._context.rereads_target:
            return
        outcome = await self._linked_blob(state, f"{layout.layers(state.name)}/{key}", key, is_present=is_present)
        if outcome is TransferOutcome.SENT:
            self._context.tally.add(blobs_sent=1)
        elif outcome is TransferOutcome.PRESENT and not is_present:
            self._context.tally.add(blobs_present=1)
        if outcome is not None and outcome.is_whole and not is_present:
            self._context.tally.add(layers_linked=1)

    async def _signature(self, state: _State, key: str) -> None:
        await self._linked_blob(state, f"{layout.revisions(state.name)}/{key}", key, is_present=False)

    async def _linked_blob(self, state: _State, link: str, key: str, *, is_present: bool) -> TransferOutcome | None:
        """Copy the blob of a source link, then the link. Return None if there is no valid link."""
        content = await self._comparison.read(self._source, link)
        if content is None:
            # Deleted since it was listed.
            return None
        digest = parse_link(content)
        named = digest_of_link(key)
        if digest is None:
            self._context.tally.add_problem(Trouble.NO_LINK, state.name, key, "link contains no digest")
            return None
        outcome = await self._copy_linked(Need(link, digest), content, is_present=is_present)
        # A blob whose link was deleted since may have been collected at the source. That is not a problem.
        if not outcome.is_whole and await self._comparison.read(self._source, link) is not None:
            state.lost.update({digest, named or digest})
            trouble, text = _TROUBLES[outcome]
            self._context.tally.add_problem(trouble, state.name, digest, text)
        return outcome

    async def _copy_linked(self, need: Need, content: bytes, *, is_present: bool) -> TransferOutcome:
        for _ in range(_ATTEMPTS):
            ticket = await self._context.ticket()
            outcome = await self._blobs.copy(need.digest)
            if not outcome.is_whole:
                return outcome
            if not is_present or content != await self._comparison.read(self._context.target, need.link):
                await self._context.write(need.link, content)
            if await self._context.keeps(ticket, [need]):
                return outcome
        raise _collected(need.digest)

    async def _manifests(self, state: _State) -> None:
        pending: Sequence[Digest] = state.found.revisions
        while pending:
            state.waiting = []
            listed = set(pending)
            await for_each(lambda digest: self._manifest(state, digest, listed), stream(pending))  # noqa: B023 - awaited here
            # Each round copies the lowest remaining manifests. An index refers to its children by digest: no cycles.
            pending = state.waiting

    async def _manifest(self, state: _State, digest: Digest, pending: set[Digest]) -> None:
        found = await self._read(state, digest)
        if found is None:
            return
        blobs, children = _references(found)
        await self._late_children(state, [child for child in children if child not in pending])
        if any(child in pending and child not in state.decided for child in children):
            state.waiting.append(digest)
            return
        if missing := [each for each in (*blobs, *children) if each in state.lost]:
            state.lost.add(digest)
            text = f"refers to {missing[0]}, which could not be copied"
            self._context.tally.add_problem(Trouble.INCOMPLETE, state.name, digest, text)
            return
        if self._is_unfetched(state, found):
            return
        needs = [Need(layout.layer_link(state.name, blob), blob) for blob in blobs if blob in state.linked]
        needs += [Need(layout.revision_link(state.name, child), child) for child in children if child in state.whole]
        if await self._store_manifest(state, digest, found.content, needs):
            state.whole.add(digest)
            self._context.tally.add(manifests_copied=1)

    def _is_unfetched(self, state: _State, found: ManifestState) -> bool:
        """Whether an image of a cached repository lacks blobs, because nobody pulled them; report such an image."""
        if not self._context.is_cached(state.name):
            return False
        absent = [blob for blob in _required_blobs(found) if blob not in state.linked]
        if absent:
            state.unfetched.add(found.digest)
            text = f"refers to {absent[0]}, which the cache has not fetched"
            self._context.tally.add_problem(Trouble.INCOMPLETE, state.name, found.digest, text)
        return bool(absent)

    async def _store_manifest(self, state: _State, digest: Digest, content: bytes, needs: Sequence[Need]) -> bool:
        """Write a manifest and its link. Return whether the source still had that link."""
        link = layout.revision_link(state.name, digest)
        for _ in range(_ATTEMPTS):
            ticket = await self._context.ticket()
            await self._context.write(layout.blob_data(digest), content)
            if not await self._write_link(link):
                return False
            if await self._context.keeps(ticket, [Need(link, digest), *needs]):
                return True
            # Garbage collection removed some of the content. No tag points here yet: undo the link and try again.
            await self._context.delete([link])
            for need in needs:
                await self._copy_again(need.link)
        raise _collected(digest)

    async def _copy_again(self, link: str) -> None:
        content = await self._comparison.read(self._source, link)
        if content is not None and (digest := parse_link(content)) is not None:
            await self._copy_linked(Need(link, digest), content, is_present=True)

    async def _late_children(self, state: _State, children: Iterable[Digest]) -> None:
        """Copy children that were pushed, before their index, while the manifests were being listed."""
        for child in children:
            if child in state.decided:
                continue
            if await self._comparison.read(self._source, layout.revision_link(state.name, child)) is not None:
                await self._manifest(state, child, set())

    async def _present_manifest(self, state: _State, digest: Digest) -> None:
        outcome = await self._blobs.copy(digest)
        if outcome is TransferOutcome.SENT:
            self._context.tally.add(manifests_copied=1)
        elif not outcome.is_whole:
            trouble, text = _TROUBLES[outcome]
            self._context.tally.add_problem(trouble, state.name, digest, text)

    async def _read(self, state: _State, digest: Digest) -> ManifestState | None:
        """Return an intact manifest of the source; report one that is not, unless it was deleted, and return None."""
        await self._context.budget.take()
        found = await read_stored_manifest(self._source, digest)
        if not found.is_opaque:
            return found
        state.lost.add(digest)
        if await self._comparison.read(self._source, layout.revision_link(state.name, digest)) is not None:
            trouble, text = _DEFECTS[found.problem]
            self._context.tally.add_problem(trouble, state.name, digest, text)
        return None

    async def _tag(self, state: _State, tag: Tag, change: TagChange) -> None:
        if tag in state.found.phantoms:
            return
        if change.current is not None:
            digest = parse_link(change.current)
            if digest is None or digest not in state.whole:
                await self._report_tag(state, tag, change.current)
                return
            ticket = await self._context.ticket()
            await self._context.write(layout.tag_current_link(state.name, tag), change.current)
            if not await self._context.keeps(ticket, [Need(layout.revision_link(state.name, digest), digest)]):
                # The manifest had no tag and has just been collected.
                await self._manifest(state, digest, set())
        for key in change.history:
            await self._write_link(f"{layout.tags(state.name)}/{key}")
        self._context.tally.add(tags_copied=1)

    async def _report_tag(self, state: _State, tag: Tag, content: bytes) -> None:
        # A tag that was moved or deleted since is left to the next pass.
        if await self._comparison.read(self._source, layout.tag_current_link(state.name, tag)) == content:
            text = f"points to {content.decode('ascii').strip()}, which could not be copied"
            self._context.tally.add_problem(Trouble.INCOMPLETE, state.name, tag, text)

    async def _report_phantom(self, name: RepositoryName, tag: Tag) -> None:
        async for _ in self._source.walk(layout.tag(name, tag)):
            text = "tag has no readable link and cannot be pulled"
            self._context.tally.add_problem(Trouble.NO_LINK, name, tag, text)
            return

    async def _write_link(self, key: str) -> bool:
        """Copy a link unchanged. Return whether the source still had it."""
        content = await self._comparison.read(self._source, key)
        if content is None:
            return False
        await self._context.write(key, content)
        return True


def _collected(digest: Digest) -> StorageUnavailableError:
    return StorageUnavailableError(f"garbage collection at the target removed {digest} {_ATTEMPTS} times")


def _required_blobs(found: ManifestState) -> Sequence[Digest]:
    """Return the blobs without which a manifest cannot be pulled; nothing for an index and for schema 1."""
    manifest = found.manifest
    if manifest is None or manifest.is_index:
        return ()
    blobs = manifest.blobs()
    return [each.digest for each in blobs if not each.urls and each.media_type not in NONDISTRIBUTABLE_LAYERS]


def _references(found: ManifestState) -> tuple[Sequence[Digest], Sequence[Digest]]:
    """Return the blobs and the manifests a manifest refers to; nothing if the manifest cannot be parsed.

    An entry of an index that may be either is in both lists.
    """
    manifest = found.manifest
    if manifest is None:
        return (schema1_layers(found.content) if found.problem is ManifestProblem.SCHEMA1 else []), []
    children = [child.digest for child in (*manifest.manifests, *manifest.others)]
    return [blob.digest for blob in manifest.blobs()], children
