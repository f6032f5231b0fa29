"""The summaries of manifests: kept in memory, stored per repository, and built from the store when they are missing.

A summary depends on content only, so it is never outdated. Work is bounded: a call builds a limited number of
summaries, and the same call later continues.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from core.concurrency import map_bounded
from core.content_source import Offload
from core.errors import ObjectNotFoundError, ObjectTooLargeError, StorageError
from core.model.digest import Digest
from core.model.manifest import Manifest, is_served, stored_media_type
from core.model.names import RepositoryName
from core.model.schema1 import schema1_layers
from core.ports.blob_storage import BlobStorage
from core.store import layout, summary_keys
from core.store.links import Links
from core.store.objects import find
from core.store.stored_manifests import ManifestProblem, examine_manifest
from core.summaries.manifest_summary import (
    ManifestSummary,
    has_image_config,
    summarize,
    summarize_foreign,
    summarize_schema1,
)
from core.summaries.stored import STORED_BYTES_MAX, SummariesUnreadableError, decode_summaries, encode_summaries

_logger = logging.getLogger(__name__)

BUILT_MAX: Final = 500
"""Maximum number of manifests that one call summarizes from the store, so that the work of a request is bounded."""
BYTES_MAX: Final = 32 * 1024 * 1024
"""Maximum size in bytes of the summaries that a process keeps in memory."""
_MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024
_CONFIG_BYTES_MAX: Final = 1024 * 1024
_INLINE_BYTES_MAX: Final = 64 * 1024
"""Larger content is processed in a thread."""
_DEPTH_MAX: Final = 4
"""Maximum number of indexes within each other; deeper ones count as missing."""
_SCHEMA1_LAYERS_MAX: Final = 200
_AT_ONCE: Final = 4
"""Concurrent requests for each of the manifests that are built at once."""
RETRY_SECONDS: Final = 60.0
"""After this time, a manifest that could not be read is tried again."""
COMPLETION_SECONDS: Final = 600.0
"""After this time, an index is tried again some of whose manifests were missing."""
_RELOAD_SECONDS: Final = 60.0
_BUILT_WITHOUT_RELOAD: Final = 3
_STORED_AFTER: Final = 50
"""Number of new summaries after which the summaries of a repository are stored."""
_TRIED_MAX: Final = 10_000
_SHELF_WEIGHT: Final = 2_000

T = TypeVar("T")


@dataclass(slots=True)
class _Shelf:
    """The summaries of one repository."""

    summaries: dict[Digest, ManifestSummary] = field(default_factory=dict)
    weight: int = 0
    loaded_at: float | None = None
    tried: dict[Digest, float] = field(default_factory=dict)
    """When a manifest was read that is missing or incomplete."""
    built: int = 0
    """Number of summaries that are not stored yet."""
    is_dropped: bool = False
    """Whether it was removed from the memory, while a task still uses it."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class _Budget:
    left: int

    def take(self) -> bool:
        """Take one from the budget; return whether there was one."""
        self.left -= 1
        return self.left >= 0

    @property
    def is_exceeded(self) -> bool:
        """Whether more was wanted than there was."""
        return self.left < 0


class ManifestSummaries:
    """The summaries of manifests; one per process.

    Args:
        storage: the store.
        links: the links of the store.
        clock: monotonic seconds.
        offload: runs a function in a thread.
        may_store: whether new summaries may be stored now.
    """

    def __init__(
        self,
        storage: BlobStorage,
        links: Links,
        *,
        clock: Callable[[], float],
        offload: Offload,
        may_store: Callable[[], bool],
    ) -> None:
        self._storage = storage
        self._links = links
        self._clock = clock
        self._offload = offload
        self._may_store = may_store
        self._shelves: OrderedDict[RepositoryName, _Shelf] = OrderedDict()
        self._weight = 0

    async def describe(
        self, name: RepositoryName, digests: Collection[Digest], *, built_max: int = BUILT_MAX
    ) -> Mapping[Digest, ManifestSummary]:
        """Return the summaries of manifests, as `SummaryService.describe`."""
        shelf = self._shelf(name)
        if any(self._is_due(shelf, digest) for digest in digests):
            async with shelf.lock:
                await self._build_missing(name, shelf, digests, _Budget(built_max))
        return {digest: shelf.summaries[digest] for digest in digests if digest in shelf.summaries}

    async def holds(self, name: RepositoryName, digest: Digest) -> bool:
        """Return whether a repository holds a manifest. One request."""
        return await self._links.stands(layout.revision_link(name, digest), digest)

    async def read_blob(self, name: RepositoryName, digest: Digest, *, size_max: int) -> bytes | None:
        """Return a blob of a repository, as `SummaryService.read_blob`."""
        target = await self._links.read(layout.layer_link(name, digest))
        if target is None:
            return None
        try:
            content = await self._storage.read(layout.blob_data(target), limit=size_max)
        except (ObjectNotFoundError, ObjectTooLargeError):
            return None
        actual = await self._process(len(content), Digest.of, content, digest.algorithm)
        return content if actual == digest else None

    async def store(self, name: RepositoryName, needed: Collection[Digest]) -> None:
        """Store the summaries of these manifests and of all that belong to them, if there are new ones.

        Raises:
            StorageError: the store failed.
        """
        shelf = self._shelf(name)
        if shelf.built and self._may_store():
            await self._store(name, shelf, _related(shelf.summaries, needed))

    def _shelf(self, name: RepositoryName) -> _Shelf:
        shelf = self._shelves.get(name)
        if shelf is None:
            shelf = self._shelves[name] = _Shelf(weight=_SHELF_WEIGHT)
            self._weigh(shelf, _SHELF_WEIGHT)
        self._shelves.move_to_end(name)
        return shelf

    def _weigh(self, shelf: _Shelf, weight: int) -> None:
        if shelf.is_dropped:
            return
        self._weight += weight
        while self._weight > BYTES_MAX:
            _, oldest = self._shelves.popitem(last=False)
            oldest.is_dropped = True
            self._weight -= oldest.weight

    def _is_due(self, shelf: _Shelf, digest: Digest) -> bool:
        """Whether a manifest must be read."""
        known = shelf.summaries.get(digest)
        if known is not None and known.is_complete:
            return False
        tried_at = shelf.tried.get(digest)
        seconds = RETRY_SECONDS if known is None else COMPLETION_SECONDS
        return tried_at is None or self._clock() - tried_at >= seconds

    async def _build_missing(
        self, name: RepositoryName, shelf: _Shelf, digests: Collection[Digest], budget: _Budget
    ) -> None:
        due = [digest for digest in dict.fromkeys(digests) if self._is_due(shelf, digest)]
        if self._must_load(shelf, len(due)):
            await self._load(name, shelf)
            due = [digest for digest in due if self._is_due(shelf, digest)]

        async def build(digest: Digest) -> None:
            await self._build(name, shelf, digest, budget, depth=1)

        await map_bounded(build, due)
        if shelf.built >= _STORED_AFTER and self._may_store():
            try:
                await self._store(name, shelf, shelf.summaries.values())
            except StorageError as error:
                _logger.warning("summaries not stored: %s", error, extra={"repository": name})

    def _must_load(self, shelf: _Shelf, due: int) -> bool:
        if shelf.loaded_at is None:
            return due > 0
        # Another process may have built them.
        return due > _BUILT_WITHOUT_RELOAD and self._clock() - shelf.loaded_at >= _RELOAD_SECONDS

    async def _load(self, name: RepositoryName, shelf: _Shelf) -> None:
        key, seconds = summary_keys.manifest_summaries(name), self._clock()
        loaded: Mapping[Digest, ManifestSummary] = {}
        try:
            content = await self._storage.read(key, limit=STORED_BYTES_MAX)
            loaded = await self._process(len(content), decode_summaries, content)
        except (ObjectTooLargeError, SummariesUnreadableError) as error:
            _logger.warning("stored summaries ignored: %s", error, extra={"key": key})
        except ObjectNotFoundError:
            pass
        shelf.loaded_at = seconds
        for summary in loaded.values():
            if summary.digest not in shelf.summaries:
                self._add(shelf, summary)
                if not summary.is_complete:
                    shelf.tried[summary.digest] = self._clock()

    async def _store(self, name: RepositoryName, shelf: _Shelf, summaries: Iterable[ManifestSummary]) -> None:
        built, some = shelf.built, list(summaries)
        content = await self._process(shelf.weight, encode_summaries, some)
        await self._storage.write(summary_keys.manifest_summaries(name), content, durable=False)
        shelf.built -= built

    def _add(self, shelf: _Shelf, summary: ManifestSummary) -> None:
        old = shelf.summaries.get(summary.digest)
        weight = summary.weight - (old.weight if old else 0)
        if shelf.weight + weight <= BYTES_MAX:
            shelf.summaries[summary.digest] = summary
            shelf.weight += weight
            self._weigh(shelf, weight)

    async def _build(
        self, name: RepositoryName, shelf: _Shelf, digest: Digest, budget: _Budget, *, depth: int
    ) -> ManifestSummary | None:
        """Return the summary of a manifest; None if it cannot be read, or if the budget is spent."""
        if not self._is_due(shelf, digest):
            return shelf.summaries.get(digest)
        if not budget.take():
            return None
        # An index may name manifests of other repositories, which it must not describe.
        is_held = depth == 1 or await self._links.stands(layout.revision_link(name, digest), digest)
        summary = await self._read(name, shelf, digest, budget, depth) if is_held else None
        if summary is None or not summary.is_complete:
            if budget.is_exceeded:
                # Perhaps only the budget was too small.
                return None
            self._note(shelf, digest)
        if summary is not None:
            self._add(shelf, summary)
            shelf.built += 1
        return summary

    def _note(self, shelf: _Shelf, digest: Digest) -> None:
        if len(shelf.tried) >= _TRIED_MAX:
            shelf.tried.clear()
        shelf.tried[digest] = self._clock()

    async def _read(
        self, name: RepositoryName, shelf: _Shelf, digest: Digest, budget: _Budget, depth: int
    ) -> ManifestSummary | None:
        try:
            content = await self._storage.read(layout.blob_data(digest), limit=_MANIFEST_BYTES_MAX)
        except (ObjectNotFoundError, ObjectTooLargeError):
            return None
        state = await self._process(len(content), examine_manifest, content, digest)
        if state.manifest is None:
            return await self._other(content, digest, state.problem)
        children = await self._children(name, shelf, state.manifest, budget, depth)
        config = await self._config(name, state.manifest)
        return await self._process(len(content), _summarize, state.manifest, digest, config, children)

    async def _children(
        self, name: RepositoryName, shelf: _Shelf, manifest: Manifest, budget: _Budget, depth: int
    ) -> Mapping[Digest, ManifestSummary]:
        async def build(digest: Digest) -> ManifestSummary | None:
            return await self._build(name, shelf, digest, budget, depth=depth + 1)

        if depth >= _DEPTH_MAX:
            return {}
        digests = dict.fromkeys(entry.digest for entry in manifest.manifests)
        children = await map_bounded(build, digests, at_once=_AT_ONCE)
        return {child.digest: child for child in children if child is not None}

    async def _config(self, name: RepositoryName, manifest: Manifest) -> bytes | None:
        if manifest.config is None or not has_image_config(manifest):
            return None
        digest = manifest.config.digest
        # A manifest may name a blob of another repository, which it must not describe.
        if not await self._links.stands(layout.layer_link(name, digest), digest):
            return None
        try:
            return await self._storage.read(layout.blob_data(digest), limit=_CONFIG_BYTES_MAX)
        except ObjectNotFoundError:
            return None
        except ObjectTooLargeError:
            return b""

    async def _other(self, content: bytes, digest: Digest, problem: ManifestProblem | None) -> ManifestSummary | None:
        """Summarize a manifest of an old or unknown format."""
        if problem is ManifestProblem.SCHEMA1:
            layers = list(dict.fromkeys(schema1_layers(content)))[:_SCHEMA1_LAYERS_MAX]

            async def size(layer: Digest) -> int:
                stat = await find(self._storage, layout.blob_data(layer))
                return stat.size if stat else 0

            sizes = await map_bounded(size, layers, at_once=_AT_ONCE)
            return summarize_schema1(content, digest, dict(zip(layers, sizes, strict=True)))
        if problem is ManifestProblem.UNREADABLE and is_served(content):
            return summarize_foreign(content, digest, stored_media_type(content))
        return None

    async def _process(self, size: int, function: Callable[..., T], *arguments: Any) -> T:
        if size <= _INLINE_BYTES_MAX:
            return function(*arguments)
        result: T = await self._offload(function, *arguments)
        return result


def _summarize(
    manifest: Manifest, digest: Digest, config: bytes | None, children: Mapping[Digest, ManifestSummary]
) -> ManifestSummary:
    return summarize(manifest, digest, config=config, children=children)


def _related(summaries: Mapping[Digest, ManifestSummary], needed: Collection[Digest]) -> list[ManifestSummary]:
    """Return the summaries of these manifests, of all manifests that they contain, and of their referrers."""
    kept = [summaries[digest] for digest in dict.fromkeys(needed) if digest in summaries]
    related = {digest for summary in kept for digest in summary.contents}
    related |= {summary.digest for summary in summaries.values() if summary.subject in related}
    return kept + [summaries[digest] for digest in related.difference(needed) if digest in summaries]
