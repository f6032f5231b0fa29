"""Selection of the cached images to evict. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.pull_through.survey import CachedImage, Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """The images to remove: all that meet one of the conditions."""

    named: Callable[[CachedImage], bool] = lambda _image: False
    """Images to remove in any case."""
    unused_since: datetime | None = None
    """Images whose last use was earlier are removed, unless they are kept."""
    size_max: int | None = None
    """Images are removed, the one with the oldest last use first, until the cache is no larger than this."""
    starts_above: int = 0
    """The size of the cache up to which `size_max` has no effect."""
    bytes_to_free: int = 0
    """The same until this much space is free in addition."""


def choose(survey: Survey, eviction: Eviction, *, keeps: Callable[[CachedImage], bool]) -> Sequence[CachedImage]:
    """Return the images to remove, the one with the oldest last use first.

    Content that other images need too stays, and does not count as freed.

    Args:
        survey: the content of the cache.
        eviction: the conditions.
        keeps: whether an image stays unless it is named.
    """
    tally = _Tally(survey)
    size_max = None if survey.size <= eviction.starts_above else eviction.size_max
    going: list[CachedImage] = []
    left: list[CachedImage] = []
    for image in sorted(survey.images, key=lambda each: each.last_used):
        is_old = eviction.unused_since is not None and image.last_used < eviction.unused_since
        if eviction.named(image) or (is_old and not keeps(image)):
            tally.remove(image)
            going.append(image)
        elif not keeps(image):
            left.append(image)
    for image in left:
        is_small = size_max is None or tally.size <= size_max
        if is_small and tally.freed >= eviction.bytes_to_free:
            break
        tally.remove(image)
        going.append(image)
    return sorted(going, key=lambda each: each.last_used)


class _Tally:
    """The size of the cache while images are removed one after another."""

    def __init__(self, survey: Survey) -> None:
        self.size = survey.size
        self._whole = survey.size
        self._sizes = survey.sizes
        self._uses = Counter(digest for image in survey.images for digest in image.content)

    @property
    def freed(self) -> int:
        return self._whole - self.size

    def remove(self, image: CachedImage) -> None:
        for digest in image.content:
            self._uses[digest] -= 1
            if not self._uses[digest]:
                self.size -= self._sizes.get(digest, 0)
