"""Referrers in cached repositories: those of the upstream, merged with the stored ones."""

import json
import logging
from collections.abc import Callable, Sequence
from typing import Final

from core.concurrency import closing
from core.errors import DeniedError, UpstreamAbsentError, UpstreamError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.pull_through.flights import Flights
from core.pull_through.listing_memory import ListingMemory
from core.pull_through.origins import Origin, Origins
from core.pull_through.pauses import Pauses
from core.registry.referrers import PAGE_BYTES_MAX, PAGE_SIZE_MAX, ReferrerService
from core.store.links import Links
from core.store.tag_links import TagLinks
from core.typing import override

_logger = logging.getLogger(__name__)

REFERRERS_MAX: Final = 2_000
"""Referrers of one subject that are read from an upstream."""
_LIST_BYTES_MAX: Final = 8 * 1024 * 1024
"""Size of the referrers of one subject; annotations can have any length."""
_HELD_BYTES_MAX: Final = 16 * 1024 * 1024
_ENTRY_BYTES: Final = 500
_SECONDS_MIN: Final = 5.0
"""Time for which a list is remembered at least, so that a client can read its pages."""

_Key = tuple[RepositoryName, Digest]


class CachedReferrers(ReferrerService):
    """Lists the referrers in local repositories like its base; one per process.

    The list of a cached repository is read from its upstream and remembered for `recheck`. The manifest of a referrer
    is fetched and stored when a client asks for it. If the upstream fails, the list that it sent last counts, or else
    the stored referrers. Without any, the failure is reported: an empty list would mean that an image has no signature.

    Args:
        storage, links, tag_links: see the base.
        origins: finds the upstreams.
        pauses: the recent failures of the upstreams.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        storage: BlobStorage,
        links: Links,
        tag_links: TagLinks,
        *,
        origins: Origins,
        pauses: Pauses,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(storage, links, tag_links)
        self._origins = origins
        self._pauses = pauses
        self._memory: ListingMemory[_Key, Sequence[Descriptor]] = ListingMemory(clock=clock, weight_max=_HELD_BYTES_MAX)
        self._flights: Flights[_Key, Sequence[Descriptor]] = Flights()

    async def close(self) -> None:
        """Cancel the questions in progress. For the end of the process."""
        await self._flights.close()

    @override
    async def page(
        self,
        name: RepositoryName,
        subject: Digest,
        *,
        artifact_type: str | None = None,
        n: int | None = None,
        last: str = "",
    ) -> Page[Descriptor]:
        """Return the referrers of `subject` by ascending digest; see the base.

        Raises:
            DeniedError: the rules do not allow pulls from this repository of the upstream.
            UpstreamError: the upstream failed, and no referrer is stored.
        """
        origin = self._origins.find(name)
        if origin is not None and not origin.is_allowed:
            raise DeniedError("pulls from this repository are not allowed here", detail={"name": name})
        stored = await super().page(name, subject, artifact_type=artifact_type, n=n, last=last)
        limit = PAGE_SIZE_MAX if n is None else min(n, PAGE_SIZE_MAX)
        if origin is None or not origin.rules.referrers or limit == 0:
            return stored
        try:
            found = await self._upstream_referrers(origin, name, subject)
        except UpstreamError:
            if stored.items or last:
                return stored
            raise
        merged = {each.digest: each for each in found if artifact_type in {None, each.artifact_type}}
        merged |= {each.digest: each for each in stored.items}
        # The stored referrers after this page are not known, so the upstream's after it must wait too.
        end = stored.items[-1].digest if stored.has_more else None
        ordered = [merged[each] for each in sorted(merged) if each > last and (end is None or each <= end)]
        return _page_of(ordered, limit, has_more=stored.has_more)

    async def _upstream_referrers(self, origin: Origin, name: RepositoryName, subject: Digest) -> Sequence[Descriptor]:
        key = (name, subject)
        if (known := self._memory.fresh(key)) is not None:
            return known
        try:
            return await self._flights.run(key, lambda: self._read(origin, name, subject))
        except UpstreamError:
            if (known := self._memory.last(key)) is None:
                raise
            return known

    async def _read(self, origin: Origin, name: RepositoryName, subject: Digest) -> Sequence[Descriptor]:
        upstream, rules = origin.upstream, origin.rules
        question = (name, f"referrers/{subject}")
        if (paused := self._pauses.failure_of(upstream.name, question)) is not None:
            raise paused
        found: list[Descriptor] = []
        size, seconds = _ENTRY_BYTES, max(rules.recheck_seconds, _SECONDS_MIN)
        try:
            async with closing(upstream.referrers(origin.name, subject)) as referrers:
                async for each in referrers:
                    size += _ENTRY_BYTES + _size_of(each)
                    if len(found) == REFERRERS_MAX or size > _LIST_BYTES_MAX:
                        _logger.warning(
                            "upstream has too many referrers of %s in %s; the rest is left out", subject, name
                        )
                        break
                    found.append(each)
        except UpstreamAbsentError:
            seconds = rules.absent_seconds
        except UpstreamError as error:
            self._pauses.note(upstream.name, question, error, seconds=rules.recheck_seconds)
            raise
        self._pauses.note_answer(upstream.name)
        self._memory.put(key=(name, subject), value=found, weight=size, seconds=seconds)
        return found


def _page_of(referrers: Sequence[Descriptor], limit: int, *, has_more: bool) -> Page[Descriptor]:
    items: list[Descriptor] = []
    page_bytes = 0
    for each in referrers:
        page_bytes += _size_of(each)
        if len(items) == limit or (items and page_bytes > PAGE_BYTES_MAX):
            return Page(items=items, has_more=True)
        items.append(each)
    return Page(items=items, has_more=has_more)


def _size_of(referrer: Descriptor) -> int:
    return len(json.dumps(referrer.as_json()))
