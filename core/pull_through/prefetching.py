"""Prefetching: keeps the images of the configuration stored and up to date."""

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from core.concurrency import closing
from core.errors import RegistryError, StorageError, UpstreamError
from core.model.names import RepositoryName, Tag
from core.pull_through.limits import PrefetchRule
from core.pull_through.origins import Origins
from core.pull_through.warming import Warmer

_logger = logging.getLogger(__name__)

TAGS_MAX: Final = 1_000
"""Maximum number of tags that one rule fetches in one run."""
_WILDCARDS: Final = frozenset("*?")


@dataclass(slots=True, kw_only=True)
class PrefetchReport:
    """The result of one run of a rule."""

    images: int = 0
    failed: int = 0
    blobs_fetched: int = 0
    bytes_fetched: int = 0


class Prefetcher:
    """Fetches the images of rules. One per process.

    Args:
        origins: finds the upstreams, which list their tags.
        warmer: fetches images.
        observe: called with the name of a rule's image after each run without failures.
    """

    def __init__(self, origins: Origins, warmer: Warmer, *, observe: Callable[[str], None]) -> None:
        self._origins = origins
        self._warmer = warmer
        self._observe = observe
        self._failed: set[str] = set()

    async def run(self, rule: PrefetchRule, *, goes_on: Callable[[], bool]) -> PrefetchReport:
        """Fetch the images of one rule. A failure is logged once per image, until the image was fetched again.

        Raises:
            StorageError: the store failed.
        """
        report = PrefetchReport()
        name = RepositoryName(self._origins.canonical(rule.image))
        try:
            tags = [tag async for tag in self._tags(name, rule)]
        except (RegistryError, UpstreamError) as error:
            self._note_failure(rule.image, error)
            report.failed += 1
            return report
        self._note_success(rule.image)
        for tag in tags:
            if not goes_on():
                return report
            await self._fetch(name, tag, rule, report)
        if not report.failed:
            self._observe(rule.image)
        return report

    async def _fetch(self, name: RepositoryName, tag: Tag, rule: PrefetchRule, report: PrefetchReport) -> None:
        report.images += 1
        try:
            warmed = await self._warmer.warm(name, tag, platforms=rule.platforms)
        except (RegistryError, UpstreamError) as error:
            self._note_failure(f"{name}:{tag}", error)
            report.failed += 1
            return
        self._note_success(f"{name}:{tag}")
        report.blobs_fetched += warmed.fetched
        report.bytes_fetched += warmed.bytes_fetched

    async def _tags(self, name: RepositoryName, rule: PrefetchRule) -> AsyncIterator[Tag]:
        if not any(_WILDCARDS & set(glob) for glob in rule.tags):
            for text in rule.tags:
                yield Tag(text)
            return
        origin = self._origins.find(name)
        if origin is None:
            return
        count = 0
        async with closing(origin.upstream.tags(origin.name)) as tags:
            async for tag in tags:
                if rule.wants(tag):
                    yield tag
                    count += 1
                if count == TAGS_MAX:
                    _logger.warning("only %d tags prefetched of %s", TAGS_MAX, rule.image)
                    return

    def _note_failure(self, image: str, error: RegistryError | StorageError) -> None:
        if image not in self._failed:
            _logger.warning("image not prefetched: %s: %s", image, error)
            self._failed.add(image)

    def _note_success(self, image: str) -> None:
        if image in self._failed:
            _logger.info("image prefetched again: %s", image)
            self._failed.discard(image)
