"""Closure of manifests: everything that kept manifests need."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from core.collection.listing import FoundLink
from core.collection.manifest_reading import ReadManifest, read_references
from core.collection.marks import Marks, RepositoryMarks
from core.collection.report import CollectionReport
from core.concurrency import map_bounded, slices
from core.coordination.paced_store import PacedStore
from core.model.digest import Digest
from core.store.stored_manifests import ManifestProblem

_HELD_MAX: Final = 256
"""Maximum number of manifests in memory."""


class Closure:
    """Keeps manifests of one repository, with everything they refer to; used by one task.

    Args:
        store: the store of the manifests.
        marks: receives the digests that are needed.
        repository: the marks of this repository.
        report: receives the problems.
        referrers: the links of referrers, by their subjects.
        is_open: whether a digest is a manifest of this repository that is to be followed.
    """

    def __init__(
        self,
        store: PacedStore,
        marks: Marks,
        repository: RepositoryMarks,
        report: CollectionReport,
        *,
        referrers: Mapping[Digest, Mapping[Digest, FoundLink]],
        is_open: Callable[[Digest], bool],
    ) -> None:
        self._store = store
        self._marks = marks
        self._repository = repository
        self._report = report
        self._referrers = referrers
        self._is_open = is_open
        self.kept: set[Digest] = set()
        """The manifests that have been followed."""
        self.keeps_all_blobs = False
        """Whether the references of a kept manifest are unknown, so that all blobs must stay."""

    async def keep(self, manifests: Iterable[Digest]) -> None:
        """Keep these manifests, and follow their references. One storage request for each manifest that is kept."""
        wave = list(dict.fromkeys(manifests))
        while wave:
            found: list[Digest] = []
            for some in slices(wave, _HELD_MAX):
                for manifest in await self._read(some):
                    found += self.note(manifest)
            wave = list(dict.fromkeys(found))

    def note(self, manifest: ReadManifest, *, is_wanted: bool = True) -> Sequence[Digest]:
        """Keep a manifest that has been read, and return the digests to follow next.

        A manifest whose references are unknown keeps all blobs of the repository. The exception is a link to missing
        data that no tag or reference needs: distribution's collection leaves such links behind.
        """
        name, digest = self._repository.name, manifest.digest
        self.kept.add(digest)
        self._repository.keep(digest)
        self._marks.need_data(digest)
        if manifest.problem:
            self._report.note_problem(f"{name}@{digest}: {manifest.problem}; kept")
            is_needed = is_wanted or manifest.problem is not ManifestProblem.MISSING
            self.keeps_all_blobs |= manifest.is_opaque and is_needed
        # Build caches are indexes that list layers, so each child may be a blob too.
        for blob in (*manifest.blobs, *manifest.children):
            self._marks.need_blob(name, blob)
        return [*manifest.children, *self._referrers.get(digest, ())]

    async def _read(self, wave: Sequence[Digest]) -> list[ReadManifest]:
        to_read = [digest for digest in wave if digest not in self.kept and self._is_open(digest)]
        return await map_bounded(partial(read_references, self._store), to_read)
