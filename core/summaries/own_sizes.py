"""The part of each image's size that no other tagged image of its repository needs."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from core.content_source import Offload
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.summaries.manifest_summary import ManifestSummary
from core.summaries.service import SummaryService

_REMEMBERED_MAX: Final = 100_000
"""Maximum number of manifests whose own size a process keeps in memory, about 10 MB."""
_UNKNOWN: Final[Mapping[Digest, int]] = MappingProxyType({})


class OwnSizes:
    """Own sizes of the images of repositories; one per process.

    Args:
        summaries: answers questions about repositories.
        offload: runs a function in a thread.
    """

    def __init__(self, summaries: SummaryService, *, offload: Offload) -> None:
        self._summaries = summaries
        self._offload = offload
        self._known: OrderedDict[RepositoryName, tuple[str, Mapping[Digest, int]]] = OrderedDict()
        self._count = 0

    async def of(self, name: RepositoryName) -> Mapping[Digest, int]:
        """Return the own size in bytes of each tagged manifest; empty while a summary of them is not known.

        Costs the view of the repository, which simultaneous callers share, and reads no manifest.

        Raises:
            NameUnknownError: the repository does not exist.
        """
        view = await self._summaries.view(name)
        version, sizes = self._known.get(name, ("", _UNKNOWN))
        if version == view.version:
            self._known.move_to_end(name)
            return sizes
        digests = {state.digest for state in view.tags.values()}
        summaries = await self._summaries.describe(name, digests, built_max=0)
        if len(summaries) < len(digests):
            return _UNKNOWN
        sizes = dict(await self._offload(own_sizes, list(summaries.values())))
        self._remember(name, view.version, sizes)
        return sizes

    def _remember(self, name: RepositoryName, version: str, sizes: Mapping[Digest, int]) -> None:
        _, old = self._known.pop(name, ("", _UNKNOWN))
        self._known[name] = version, sizes
        self._count += len(sizes) - len(old)
        while self._count > _REMEMBERED_MAX and len(self._known) > 1:
            _, (_, dropped) = self._known.popitem(last=False)
            self._count -= len(dropped)


def own_sizes(summaries: Iterable[ManifestSummary]) -> Mapping[Digest, int]:
    """Return for each manifest the size in bytes of the content that belongs to no other of these manifests."""
    summaries = list(summaries)
    holders: dict[Digest, Digest | None] = {}
    for summary in summaries:
        for content in summary.contents:
            holders[content] = None if content in holders else summary.digest
    return {
        summary.digest: sum(size for content, size in summary.contents.items() if holders[content] == summary.digest)
        for summary in summaries
    }
